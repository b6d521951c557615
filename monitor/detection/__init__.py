"""Detection: from a log line to a signal or an event."""
