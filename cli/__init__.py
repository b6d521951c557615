"""The commands of `fleet_cli.py`, one module a verb. They return values; only `commands` and `console` print."""
