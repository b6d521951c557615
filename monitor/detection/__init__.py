"""Detection: a log line in, a signal or an event out."""
