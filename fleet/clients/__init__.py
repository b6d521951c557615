"""Clients of other programs: Ollama, supervisord and the GPU's tools, and the HTTP transport below them."""
