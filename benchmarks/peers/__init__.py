"""Other ways to the same answers, each at its best settings."""
