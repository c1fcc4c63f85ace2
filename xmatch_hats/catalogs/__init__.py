"""Local copies of catalogues: definitions, import, pull, verification, coverage, names."""
