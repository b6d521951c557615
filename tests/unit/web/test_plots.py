"""What the pictures of alphas are asked for, and why there is none."""

import pytest

from web.plots import options_of, reason_of


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
