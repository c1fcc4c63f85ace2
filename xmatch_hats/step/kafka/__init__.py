"""Kafka at both ends of the loop."""
