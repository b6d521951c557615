"""The page, its JSON and /metrics: a separate program that only reads the fleet's files."""
