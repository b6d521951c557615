"""The watches on running programs: Ollama's memory and hangs, and the generator."""
