"""Images of the sky: where they lie, and what a catalogue has there."""
