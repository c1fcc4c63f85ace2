"""The SQL tables that a pipeline shares: objects, their matches, and what they matched."""
