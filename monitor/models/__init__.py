"""The ladder's models: their presence in Ollama, the memory that they need, and the pull of missing ones."""
