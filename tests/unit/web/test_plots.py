"""What the pictures of alphas are asked for, and why there is none."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fleet.runtime.home import Home
from web.plots import Plots, options_of, reason_of


@pytest.mark.parametrize(
    ("out", "err", "reason"),
    [
        (
            b'{"expression": "x", "error": {"position": 0, "reason": "unknown field"}}\n',
            b"a note\n",
            "unknown field",
        ),
        (b"", b"a note\nError: /nope: no such file\nHint: Name one.\n", "/nope: no such file"),
        (b'{"error": null}\n[1]\nnot json\n', b"a note\n", "it cannot be drawn"),
        (b"", b"\xff", "it cannot be drawn"),
    ],
)
def test_why_there_is_no_picture(out: bytes, err: bytes, reason: str) -> None:
    assert reason_of(out, err) == reason


def test_only_known_settings_become_options() -> None:
    settings = {"delay": 1, "neutralization": "sector", "truncation": "", "panel": "x", "decay": None}
    assert options_of(settings) == ["--delay=1", "--neutralization=sector"]


class _Drawn(Plots):
    """Draws an alpha's expression as its picture, and counts."""

    drawn = 0

    async def _draw(self, alpha: Mapping[str, Any], path: Path) -> None:
        self.drawn += 1
        self._put(path, alpha["expression"])

    @staticmethod
    def _put(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_new_database_shows_no_picture_of_the_old_ones_alpha(tmp_path: Path) -> None:
    plots = _Drawn(Home(tmp_path), "")

    def picture(expression: str, digest: str) -> bytes:
        row = {"id": 1, "digest": digest, "settings_key": "k", "expression": expression}
        return asyncio.run(plots.picture(row))

    assert [picture("rank(close)", "d1"), picture("rank(close)", "d1")] == [b"rank(close)"] * 2
    assert plots.drawn == 1
    assert picture("rank(open)", "d2") == b"rank(open)"
