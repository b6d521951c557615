"""The commands of `python -m generator`."""
