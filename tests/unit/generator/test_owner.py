from pathlib import Path

from generator.config import database_owner


def test_a_home_keeps_its_name_and_another_home_has_another(tmp_path: Path) -> None:
    first = database_owner(tmp_path / "owner", "default")
    assert database_owner(tmp_path / "owner", "default") == first
    assert database_owner(tmp_path / "other", "default") != first


def test_a_home_that_moves_takes_its_name_along(tmp_path: Path) -> None:
    first = database_owner(tmp_path / "owner", "default")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "owner").rename(tmp_path / "elsewhere/owner")
    assert database_owner(tmp_path / "elsewhere/owner", "default") == first


def test_lanes_of_one_home_have_different_owners(tmp_path: Path) -> None:
    assert database_owner(tmp_path / "owner", "gpu0") != database_owner(tmp_path / "owner", "gpu1")


def test_a_damaged_file_is_written_anew_and_a_folder_that_is_not_there_is_lived_with(tmp_path: Path) -> None:
    (tmp_path / "owner").write_bytes(b"\xff\x00 \n")
    first = database_owner(tmp_path / "owner", "default")
    assert database_owner(tmp_path / "owner", "default") == first
    lost = tmp_path / "none/owner"
    assert database_owner(lost, "default") == database_owner(lost, "default")
    assert str(tmp_path) in database_owner(lost, "default")


def test_an_owner_is_text_for_a_database_also_where_its_folder_is_named_in_bytes() -> None:
    assert database_owner(Path("/none/\udcff/owner"), "default").endswith("/none/?/default")
