"""The forms of Ollama's input and output: Go's formats, log lines, request bodies."""
