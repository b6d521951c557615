"""`docker:NAME`: a container's log, read through the Docker Engine's API."""
