"""GPU-memory failures by their text: causes, the table of patterns, and the function that judges a text."""
