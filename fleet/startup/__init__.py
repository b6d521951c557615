"""Start of a fleet: profile, `run/fleet.json`, supervisord; and the container's health check."""
