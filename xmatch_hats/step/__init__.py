"""The streaming step: packets from a source through the engine into a sink, none of them lost."""
