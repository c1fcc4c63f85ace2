"""The heart: which rows of a catalogue lie within a radius of which positions."""
