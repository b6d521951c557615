"""Clients of the programs beside the fleet: Ollama, supervisord, the GPU's tools; and the HTTP under them."""
