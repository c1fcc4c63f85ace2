"""Formats of tables: everything that is read or written here is an Arrow table with units in its fields."""
