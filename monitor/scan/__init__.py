"""`scan`: detector and grouper over a whole log file."""
