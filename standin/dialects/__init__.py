"""The log lines and errors of each era's Ollama."""
