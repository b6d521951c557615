"""The notifier: words to people about what the fleet cannot mend by itself."""
