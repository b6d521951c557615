"""The start of a fleet: the profile, `run/fleet.json`, supervisord; and the container's health check."""
