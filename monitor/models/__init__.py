"""Models: which are in Ollama, the memory they need, and pulling those that are missing."""
