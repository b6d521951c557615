"""The page, its JSON and /metrics: a program of its own that only reads what the fleet writes."""
