"""What the generator reports: events, counts, heartbeat and its JSON-lines files."""
