"""What became of a whole night or catalogue: its accounting, checked, and pictures of it."""
