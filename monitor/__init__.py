"""The monitor: follow Ollama's log, detect, group, decide, switch."""
