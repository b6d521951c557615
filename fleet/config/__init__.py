"""Configuration: the settings of `fleet.toml`, the kinds of their values, and the loader."""
