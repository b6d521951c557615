"""Reports of the generator: events, counts, heartbeat and JSON-lines files."""
