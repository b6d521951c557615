"""The fleet's state file: its schema, its codec and its locked store."""
