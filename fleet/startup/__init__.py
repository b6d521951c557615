"""Start of a fleet: profile, `run/fleet.json`, supervisord; the container's health check; the Python of commands."""
