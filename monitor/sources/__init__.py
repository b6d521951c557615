"""Log sources: Docker, files and journald behind one protocol."""
