"""`fleet.toml`: its settings, their values, and how the file and its environment are read."""
