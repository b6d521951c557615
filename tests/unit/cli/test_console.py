"""Errors that no command foresaw, as a person sees them."""

import errno

import click
import pytest
from click.testing import CliRunner

from cli.console import Root


@pytest.mark.parametrize(
    ("code", "mend"),
    [(errno.EACCES, "as the user who may use that file"), (errno.ENOSPC, "room on the disk")],
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
