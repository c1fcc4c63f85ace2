# Two commands for a stranger: `make run` and `make test`. Both make .venv and install into it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench
DOCS_STAMP := $(VENV)/.installed-docs
NOTEBOOKS_STAMP := $(VENV)/.installed-notebooks
# More than there are cores make tests that wait for servers wait longer than they may.
PROCESSES ?= 2
# Where Python is told to keep no bytecode, pytest would make that of all tests anew in each of its processes.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/pytest

.PHONY: run test lint types pytest docs notebooks notebooks-refresh campaign bench bench-full bench-skies bench-kernels kafka postgres clean

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): some 1.2 GB, minutes the first time, and silent meanwhile"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	touch $@

$(BENCH_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test,bench]"
	touch $@

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test,docs]"
	touch $@

$(NOTEBOOKS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test,notebooks]"
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
	$(PYTEST) -n $(PROCESSES) --dist loadfile --no-loadscope-reorder -m "not campaign"

# The documentation's site, into site/; every warning is an error.
docs: $(DOCS_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# The notebooks, executed from a clean kernel on a made-up sky; CATALOG=PATH takes a copy of yours. The second keeps the outputs.
notebooks: $(NOTEBOOKS_STAMP)
	$(BIN)/python -m notebooks $(if $(CATALOG),--catalog $(CATALOG))

notebooks-refresh: $(NOTEBOOKS_STAMP)
	$(BIN)/python -m notebooks --refresh

# Every claim at full size; writes campaign/REPORT.md.
campaign: $(STAMP)
	$(BIN)/python -m tests.campaign

# Our engine beside its peers; both write benchmarks/RESULTS.md after every case. The skies are built once and kept
# outside of this folder, which takes much longer than a run; `python -m benchmarks CASE` runs one case.
bench: $(BENCH_STAMP)
	$(BIN)/python -m benchmarks

bench-full: $(BENCH_STAMP)
	$(BIN)/python -m benchmarks --full

bench-skies: $(BENCH_STAMP)
	$(BIN)/python -m benchmarks --build
	$(BIN)/python -m benchmarks --build --full

# The kernels one by one, beside the last run, with the number of messages and tasks of a batch.
bench-kernels: $(BENCH_STAMP)
	$(BIN)/pytest benchmarks/kernels --benchmark-columns=median,iqr,rounds --benchmark-sort=name \
		--benchmark-autosave --benchmark-compare --benchmark-storage=file://$(HOME)/.cache/xmatch-hats/bench/kernels

# A real broker and a real database on loopback until Ctrl-C; they print what to set to use them.
kafka postgres: $(STAMP)
	@$(BIN)/python -m tests.services.$@

clean:
	rm -rf $(VENV) build dist site .mypy_cache .ruff_cache .pytest_cache
