"""The mining threads: calls to Ollama, their ingest into the database, evaluation."""
