"""`journal:UNIT`: a systemd unit's log, read through journalctl."""
