"""Catalogue against catalogue: two HATS catalogues in, a third one out."""
