"""Ollama's models: which are there, what each needs, and how missing ones are pulled."""
