"""Switching: the steps of a switch, carried out against Ollama and supervisord."""
