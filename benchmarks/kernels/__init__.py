"""The kernels one by one, for pytest-benchmark: ``make bench-kernels``; none of it belongs to ``make test``."""
