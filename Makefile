# Two commands for a stranger: `make run` and `make test`. Both make .venv and install into it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Tests wait for servers half of their time.
PROCESSES ?= 2

.PHONY: run test lint types pytest campaign bench kafka postgres clean

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	touch $@

run: $(STAMP)
	$(BIN)/xmatch-hats demo

test: lint types pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

pytest: $(STAMP)
	$(BIN)/pytest -n $(PROCESSES) --dist loadfile -m "not campaign"

# Every claim at full size; writes campaign/REPORT.md.
campaign: $(STAMP)
	$(BIN)/python -m tests.campaign

# Throughput beside the naive way, on real packets where they are at hand; writes benchmarks/RESULTS.md.
bench: $(STAMP)
	$(BIN)/python -m benchmarks.stream

# A real broker and a real database on loopback until Ctrl-C; they print what to set to use them.
kafka postgres: $(STAMP)
	@$(BIN)/python -m tests.services.$@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
