"""`scan`: the detector and the grouper over a whole log file."""
