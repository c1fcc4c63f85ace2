"""The engine that keeps partitions resident: for streams, whose batches come back to the same sky again and again."""
