"""The cards, by NVIDIA's library where it is installed and works, else by a tool on the PATH, else not at all."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from fleet.clients import gpu
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


@pytest.mark.parametrize(
    "row", ["GB10, [N/A], [N/A]", "a, -5, 8192", "a, 5, 0", "a, 5, -1", "a, 5, 9e18", "a, nan, 8", "a, 8"]
)
def test_a_card_without_possible_figures_is_left_out(no_tools: Path, row: str) -> None:
    tool(no_tools, "nvidia-smi", f'echo "{row}"; echo "RTX 4070, 1500, 12282"')
    assert cards() == [Card("RTX 4070", 1500 * MB, 12282 * MB)]


def test_texts_of_a_tool_are_printable_and_short(no_tools: Path) -> None:
    tool(no_tools, "nvidia-smi", 'printf "a\033[31m, 9000, 8192\n"')
    assert cards() == [Card("a?[31m", 8192 * MB, 8192 * MB)]
    tool(no_tools, "nvidia-smi", "printf '\n\n%09999d\033' 5; exit 9")
    with pytest.raises(FleetError) as caught:
        cards()
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


def test_a_card_has_its_uuid(monkeypatch: pytest.MonkeyPatch, no_tools: Path) -> None:
    tool(no_tools, "nvidia-smi", 'echo "GPU-8f6a, Quadro, one, 1500, 12282"')
    assert cards() == [Card("Quadro, one", 1500 * MB, 12282 * MB, "GPU-8f6a")]
    library = Library(("a", 1, 2))
    library.nvmlDeviceGetUUID = lambda handle: f"GPU-{handle[0]}".encode()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert cards() == [Card("a", 1, 2, "GPU-a")]


def test_the_warnings_of_amd_stand_beside_its_answer(no_tools: Path) -> None:
    row = """{"card0": {"VRAM Total Memory (B)": "8", "VRAM Total Used Memory (B)": "3"}, "card1": {}}"""
    warning = "WARNING: AMD GPU device(s) is/are in a low-power state"
    tool(no_tools, "rocm-smi", f"echo '{warning}'; echo; echo '{row}'; echo end >&2")
    assert cards() == [Card("card0", 3, 8)]


@pytest.mark.parametrize(
    "script", ["while :; do echo a, 1, 2; done", "/bin/sleep 600; echo", "exec >&- 2>&-; exec /bin/sleep 600"]
)
def test_a_tool_without_an_end_is_given_up_and_ended(
    monkeypatch: pytest.MonkeyPatch, no_tools: Path, script: str
) -> None:
    monkeypatch.setattr(gpu, "_TIMEOUT", 0.3)
    tool(no_tools, "nvidia-smi", f"echo $$ > {no_tools}/pid; {script}")
    with pytest.raises(FleetError, match="no whole answer"):
        cards()
    assert not Path("/proc", (no_tools / "pid").read_text().strip()).exists()


def test_a_tool_that_no_signal_ends_is_not_started_again(
    monkeypatch: pytest.MonkeyPatch, no_tools: Path
) -> None:
    """As within a driver that hangs, where even SIGKILL waits."""
    started = list[subprocess.Popen[bytes]]()

    class Kept(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(gpu, "_TIMEOUT", 0.1)
    monkeypatch.setattr(gpu, "_GRACE", 0.1)
    monkeypatch.setattr("fleet.clients.gpu.os.killpg", lambda _group, _signal: None)
    monkeypatch.setattr("fleet.clients.gpu.subprocess.Popen", Kept)
    tool(no_tools, "nvidia-smi", "exec /bin/sleep 600")
    try:
        for _ in range(3):
            with pytest.raises(FleetError, match="no whole answer"):
                cards()
        assert len(started) == 1
    finally:
        started[0].kill()
        started[0].wait()
    tool(no_tools, "nvidia-smi", 'echo "a, 1, 2"')
    monkeypatch.setattr(gpu, "_TIMEOUT", 30.0)
    assert cards() == [Card("a", MB, 2 * MB)]
