"""Alert packets: safe reading of Avro containers, and the same packets with ``xmatches`` appended."""
