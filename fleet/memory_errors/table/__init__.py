"""The table of patterns: one row a wording, with its cause, the versions that print it and an example."""
