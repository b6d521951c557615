"""docs/operating.md: its backup works on a home in use, and it names every file of a home."""

import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

from fleet.runtime.home import ROOT, Home

PAGE = (ROOT / "docs" / "operating.md").read_text("utf-8")


def block(heading: str) -> str:
    found = re.search(rf"^## {heading}\n.*?^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_the_backup_is_whole_while_the_database_is_written(tmp_path: Path) -> None:
    home = Home(tmp_path / "var")
    home.create()
    home.state.write_text('{"current_model_index": 1}')
    home.history.write_text("{}\n")
    (tmp_path / "fleet.toml").write_text("")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    writer = sqlite3.connect(home.database)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("CREATE TABLE alphas (expression TEXT)")
    writer.execute("INSERT INTO alphas VALUES ('rank(close)')")
    writer.commit()
    assert home.database.with_name("alphas.db-wal").stat().st_size > 0
    environ = {**os.environ, "PYTHONWARNINGS": "ignore"}
    subprocess.run(["sh", "-euc", block("Backup")], cwd=tmp_path, check=True, timeout=60, env=environ)
    writer.close()
    copy = sqlite3.connect(tmp_path / "backup" / "alphas.db")
    assert copy.execute("SELECT expression FROM alphas").fetchall() == [("rank(close)",)]
    copy.close()
    assert (tmp_path / "backup" / home.state.name).read_text() == home.state.read_text()


def test_each_file_of_a_home_is_explained() -> None:
    table = PAGE.partition("## What each file is")[2].partition("## Backup")[0]
    home = Home(Path("/home"))
    names = [name for name in vars(Home) if not name.startswith("_") and name != "path"]
    paths = [value for name in names if isinstance(value := getattr(home, name), Path)]
    tops = {path.relative_to(home.path).parts[0] for path in paths}
    assert len(tops) > 8
    assert {top for top in tops if f"`{top}" not in table} == set()
