"""How Ollama writes and reads: Go's formats, log lines, request bodies."""
