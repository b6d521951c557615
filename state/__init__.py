"""The state file: its codec, its locked store, its history and its fit to an edited ladder."""
