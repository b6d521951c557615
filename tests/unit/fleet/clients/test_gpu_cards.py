"""The cards, by NVIDIA's library where it is installed and works, else by a tool on the PATH, else not at all."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from fleet.clients.gpu import Card, cards
from fleet.runtime.errors import FleetError

MB = 1024**2


class Library(ModuleType):
    """A pynvml whose cards are these; it fails where it is told to."""

    class NVMLError(Exception):
        """Any failure of the library."""

    def __init__(self, *found: tuple[Any, Any, Any], fails_at: str = "") -> None:
        super().__init__("pynvml")
        self._found, self._fails_at, self.calls = found, fails_at, list[str]()

    def _reached(self, step: str) -> None:
        self.calls.append(step)
        if step == self._fails_at:
            raise self.NVMLError(step)

    def nvmlInit(self) -> None:  # noqa: N802  # the library's names
        self._reached("init")

    def nvmlShutdown(self) -> None:  # noqa: N802
        self._reached("shutdown")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        self._reached("count")
        return len(self._found)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> tuple[Any, Any, Any]:  # noqa: N802
        return self._found[index]

    def nvmlDeviceGetMemoryInfo(self, handle: tuple[Any, Any, Any]) -> SimpleNamespace:  # noqa: N802
        self._reached("memory")
        return SimpleNamespace(used=handle[1], total=handle[2])

    def nvmlDeviceGetName(self, handle: tuple[Any, Any, Any]) -> Any:  # noqa: N802
        return handle[0]


@pytest.fixture(autouse=True)
def no_tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let nothing be installed; return the folder of the PATH."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def tool(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_without_library_and_tools_nothing_is_known() -> None:
    assert cards() is None


def test_the_library_is_asked_first_and_closed_again(monkeypatch: pytest.MonkeyPatch, no_tools: Path) -> None:
    library = Library(("RTX 4070", 1000 * MB, 12000 * MB), (b"old \xff", 0, 8000 * MB))
    monkeypatch.setitem(sys.modules, "pynvml", library)
    tool(no_tools, "nvidia-smi", "exit 9")
    assert cards() == [Card("RTX 4070", 1000 * MB, 12000 * MB), Card("old \ufffd", 0, 8000 * MB)]
    assert library.calls[-1] == "shutdown"


@pytest.mark.parametrize("fails_at", ["init", "count", "memory"])
def test_where_the_library_fails_the_tool_answers(
    monkeypatch: pytest.MonkeyPatch, no_tools: Path, fails_at: str
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Library(("a", 1, 2), fails_at=fails_at))
    tool(no_tools, "nvidia-smi", 'echo "RTX 4070, 1500, 12282"')
    assert cards() == [Card("RTX 4070", 1500 * MB, 12282 * MB)]


def test_a_library_with_odd_figures_or_without_cards_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, no_tools: Path
) -> None:
    tool(
        no_tools,
        "rocm-smi",
        """echo '{"card0": {"VRAM Total Memory (B)": "8", "VRAM Total Used Memory (B)": "3"}}'""",
    )
    for library in (Library(("a", None, float("nan"))), Library()):
        monkeypatch.setitem(sys.modules, "pynvml", library)
        assert cards() == [Card("card0", 3, 8)]


def test_a_tool_that_fails_says_why(no_tools: Path) -> None:
    tool(no_tools, "nvidia-smi", "echo 'NVIDIA-SMI has failed' >&2; exit 9")
    with pytest.raises(FleetError, match="NVIDIA-SMI has failed"):
        cards()
