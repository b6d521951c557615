"""Watching what runs: Ollama's memory, hangs, and the generator."""
