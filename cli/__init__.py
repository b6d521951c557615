"""What the commands of `fleet_cli.py` do: a module a verb; they return, and only `commands` and `console` print."""
