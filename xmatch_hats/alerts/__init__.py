"""Alert packets: containers, schemas, and the splice that appends ``xmatches``."""
