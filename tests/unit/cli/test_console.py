"""Errors that no command foresaw, as a person sees them."""

import contextlib
import errno
import os
import pty
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.commands import main
from cli.console import Root
from fleet.config.schema import SEED_LADDER
from fleet.runtime.home import ROOT, Home
from state.codec import default_state, encode_state

COMMANDS = [
    "status", "status --check", "reset", "downgrade", "upgrade", "use 1", "unpin", "pause", "resume", "history",
    "watch", "report", "alphas", "alphas show 1", "alphas --diverse 2", "doctor", "notify --test",
]  # fmt: skip


@pytest.mark.parametrize(
    "command", [*COMMANDS, "scan missing.log", "ladder --vram 0", "use", "lanes --gpus x"]
)
def test_an_error_goes_to_standard_error_alone_also_with_json(tmp_path: Path, command: str) -> None:
    """A program that reads the output gets JSON or nothing."""
    result = CliRunner().invoke(
        main, [*command.split(), "--json"], env={"FLEET_HOME": str(tmp_path / "none")}
    )
    assert result.exit_code == (1 if command.startswith("scan") else 2)
    assert result.stdout == ""
    assert "Error: " in result.stderr


@pytest.mark.parametrize(
    ("environ", "coloured", "redrawn"),
    [
        ({"TERM": "xterm", "NO_COLOR": ""}, True, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, True),
        ({"TERM": "dumb", "NO_COLOR": ""}, False, False),
        ({"TERM": None, "NO_COLOR": ""}, False, False),
    ],
    ids=["a terminal", "without colours", "a dumb terminal", "an unknown terminal"],
)
def test_a_terminal_gets_the_codes_that_it_knows(
    tmp_path: Path, environ: dict[str, str | None], coloured: bool, redrawn: bool
) -> None:
    log = tmp_path / "big.log"
    log.write_bytes(b"a\n" * (9 << 20))
    home = {"FLEET_HOME": str(tmp_path / "none")}
    shown = [at_terminal([*command], {**home, **environ}) for command in (["status"], ["scan", str(log)])]
    assert ("\x1b[31mError:" in shown[0]) is coloured
    assert ("\x1b[K" in shown[1]) is redrawn


def at_terminal(arguments: list[str], environ: dict[str, str | None]) -> str:
    """Return what a command shows at a terminal."""
    ours, theirs = pty.openpty()
    given = {name: value for name, value in {**os.environ, **environ}.items() if value is not None}
    command = [sys.executable, str(ROOT / "fleet_cli.py"), *arguments]
    child = subprocess.Popen(command, env=given, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the terminal is gone when the last that has it open has ended
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    child.wait(30)
    return shown.decode()


@pytest.mark.parametrize("arguments", [["fleet_cli.py", "use", "1"], ["fleet_cli.py", "scan", "-"],
                                       ["-m", "generator", "check", "-"]])  # fmt: skip
@pytest.mark.parametrize("closed", [(0,), (0, 1), (0, 1, 2), (2,)])
def test_a_program_whose_streams_are_closed_ends_as_with_others(
    tmp_path: Path, arguments: list[str], closed: tuple[int, ...]
) -> None:
    """As `2>&-` of a shell and some service managers do; Python then has None for a stream."""
    home = Home(tmp_path)
    home.create()
    home.state.write_text(encode_state(default_state(SEED_LADDER, 1.0), 1.0))
    shell = " ".join(f"{number}>&-" if number else "<&-" for number in closed)
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {shell}', "sh", sys.executable, *arguments],
        cwd=ROOT, env={**os.environ, "FLEET_HOME": str(tmp_path)}, capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert "is a fault of Model Fleet" not in done.stderr
    if "use" in arguments:
        assert done.returncode == 3
    elif 0 in closed:
        assert done.returncode == 1
        assert 2 in closed or "standard input is closed" in done.stderr
    else:
        assert done.returncode == (0 if "scan" in arguments else 2)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999"])
@pytest.mark.parametrize("option", ["watch --interval", "alphas --min-fitness", "alphas --max-turnover"])
def test_a_number_that_is_not_finite_is_wrong_usage(option: str, number: str) -> None:
    result = CliRunner().invoke(main, [*option.split(), number])
    assert result.exit_code == 2
    assert f"Invalid value for '{option.split()[1]}'" in result.stderr


@pytest.mark.parametrize(
    ("code", "mend"),
    [
        (errno.EACCES, "as the user who may use that file"),
        (errno.ENOSPC, "room on the disk"),
        (errno.ENAMETOOLONG, "Correct the path"),
    ],
)
def test_a_file_that_cannot_be_used_has_the_mend_of_its_reason(code: int, mend: str) -> None:
    @click.group(cls=Root)
    def root() -> None:
        pass

    @root.command()
    def work() -> None:
        raise OSError(code, "no", "/home/of/another")

    result = CliRunner().invoke(root, ["work"])
    assert result.exit_code == 1
    assert "Error: /home/of/another: no" in result.stderr
    assert mend in result.stderr
