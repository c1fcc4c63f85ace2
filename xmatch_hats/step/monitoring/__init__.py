"""What watches a running step: health checks, metrics, logs."""
