"""Every command has help, stands in docs/cli.md, and what prints JSON has a schema."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from jsonschema import Draft202012Validator

from fleet.runtime.home import ROOT
from fleet_cli import main

COMMANDS = sorted(main.commands)
SCHEMAS = sorted((ROOT / "docs" / "schema").glob("*.json"))
PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_and_its_options_have_help(name: str) -> None:
    command = main.commands[name]
    assert command.help, name
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts}"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_stands_in_the_documentation(name: str) -> None:
    assert f"`{name}" in PAGE


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_with_json_has_its_schema_named(name: str) -> None:
    if not any("--json" in parameter.opts for parameter in main.commands[name].params):
        pytest.skip("it prints no JSON")
    rows = [line for line in PAGE.splitlines() if f"`{name}`" in line and "schema/" in line]
    assert rows, f"docs/cli.md names no schema for {name}"


def _each_key_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names)), f"a key stands twice in {names}"
    return dict(pairs)


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_a_schema_is_one_and_is_named(path: Path) -> None:
    Draft202012Validator.check_schema(json.loads(path.read_text(), object_pairs_hook=_each_key_once))
    assert f"schema/{path.name}" in PAGE


def test_a_status_imports_nothing_heavy() -> None:
    script = (
        "import sys\nsys.argv = ['fleet_cli.py', 'status']\nimport fleet_cli, cli.status, cli.render\n"
        "import generator.storage.read\n"
        "heavy = {'requests', 'docker', 'sqlalchemy', 'numpy', 'numba', 'filelock', 'polars', 'lark'}\n"
        "heavy |= {'monitor.switching.executor', 'fleet.policy.facts'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
