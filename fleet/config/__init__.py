"""Configuration: the settings of `fleet.toml`, their kinds of values, and the loader."""
