"""Watches on what runs: Ollama's memory and hangs, and the generator."""
