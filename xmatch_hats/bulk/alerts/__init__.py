"""Archives of alert packets, matched whole: nights of them become HATS collections or parquet datasets."""
