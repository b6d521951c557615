"""Panels on a worker's disk: complete with the right content, or absent."""

from pathlib import Path

import pytest

from fleet.runtime.errors import GeneratorError
from generator.backtest.synthetic import synthetic_panel
from generator.evaluators import shelf as shelves
from generator.evaluators.shelf import PanelShelf, panel_parts

PANEL = synthetic_panel(days=60, instruments=12)
CONTENT = PANEL.content()


def send(shelf: PanelShelf, content: str = CONTENT) -> None:
    for file, offset, data in panel_parts(PANEL):
        shelf.receive(content, file, offset, data)


def test_a_panel_arrives_with_its_content_and_is_found_by_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelves, "PART", 1000)
    shelf = PanelShelf(tmp_path)
    assert shelf.find(CONTENT) is None
    send(shelf)
    assert shelf.find(CONTENT) is None
    send(shelf)  # from the beginning, after a connection was lost
    shelf.finish(CONTENT)
    found = PanelShelf(tmp_path).find(CONTENT)
    assert found is not None
    assert found.content() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == [CONTENT]


def test_two_workers_may_receive_the_same_panel_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = PanelShelf(tmp_path), PanelShelf(tmp_path)
    send(one)
    monkeypatch.setattr("os.getpid", lambda: 1)
    send(two)
    two.finish(CONTENT)
    monkeypatch.undo()
    one.finish(CONTENT)
    assert [path.name for path in tmp_path.iterdir()] == [CONTENT]


def test_a_damaged_panel_is_refused(tmp_path: Path) -> None:
    shelf = PanelShelf(tmp_path)
    other = "0123456789abcdef"
    send(shelf, other)
    with pytest.raises(GeneratorError, match="damaged"):
        shelf.finish(other)
    with pytest.raises(GeneratorError, match="damaged"):
        shelf.finish(CONTENT)
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_comes_too_early_is_refused(tmp_path: Path) -> None:
    shelf = PanelShelf(tmp_path)
    shelf.receive(CONTENT, "0.npy", 0, b"abc")
    with pytest.raises(GeneratorError, match="missing before byte 7"):
        shelf.receive(CONTENT, "0.npy", 7, b"abc")


@pytest.mark.parametrize(
    ("content", "file"), [("../../../etc/abcd", "0.npy"), (CONTENT, "../x.npy"), ("", "0.npy")]
)
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, content: str, file: str) -> None:
    with pytest.raises(GeneratorError, match="is no name"):
        PanelShelf(tmp_path).receive(content, file, 0, b"")


def test_the_panels_used_last_stay(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number:016x}").mkdir()
    (tmp_path / "settings.json").touch()
    shelf = PanelShelf(tmp_path)
    send(shelf)
    shelf.finish(CONTENT)
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 4
    assert shelf.find(CONTENT) is not None
    assert (tmp_path / "settings.json").exists()
