"""The notifier: notices to people about faults that the fleet cannot repair by itself."""
