"""Switching: carries out the steps of a switch against Ollama and supervisord."""
