from pathlib import Path

import pytest

from tools import pythons


def interpreter(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_each_version_from_the_oldest_on_is_found_once(tmp_path: Path) -> None:
    pyenv, shims = tmp_path / "pyenv" / "versions" / "3.13.0" / "bin", tmp_path / "shims"
    newest = interpreter(pyenv, "python3.13", "echo 3 13")
    interpreter(pyenv, "python3.13-config", "echo 3 13")
    interpreter(shims, "python3.13", "echo 3 13")
    oldest = interpreter(shims, "python3.11", "echo 3 11")
    interpreter(shims, "python3.10", "echo 3 10")
    interpreter(shims, "python3.12", "echo no such version >&2; exit 127")
    interpreter(shims, "python3.14", "echo nonsense")
    environ = {"PYENV_ROOT": str(tmp_path / "pyenv"), "PATH": f"{tmp_path}/none::{shims}"}
    found = pythons.interpreters(pythons.folders(environ, tmp_path))
    assert list(found.items()) == [((3, 11), oldest), ((3, 13), newest)]
    assert pythons.summary((3, 12), found) == f"Python 3.12 (make setup), 3.11 ({oldest}), 3.13 ({newest})"


def test_pyenvs_versions_are_looked_for_in_the_home(tmp_path: Path) -> None:
    (tmp_path / ".pyenv" / "versions" / "3.12.1" / "bin").mkdir(parents=True)
    assert list(pythons.folders({}, tmp_path)) == [tmp_path / ".pyenv" / "versions" / "3.12.1" / "bin"]


def test_a_machine_with_one_python_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert pythons.main() == 0
    assert capsys.readouterr().out.count("\n") == 1


def test_a_python_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interpreter(tmp_path, "python3.99", 'case "$1" in -c) echo 3 99 ;; *) exit 1 ;; esac')
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert pythons.main() == 1
    assert "fail on Python 3.99" in capsys.readouterr().out


def test_the_newest_is_taken_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for minor in ("98", "99"):
        interpreter(tmp_path, f"python3.{minor}", f'case "$1" in -c) echo 3 {minor} ;; *) exit 1 ;; esac')
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert pythons.main(["--newest"]) == 1
    printed = capsys.readouterr().out
    assert "Unit tests on Python 3.99" in printed
    assert "Unit tests on Python 3.98" not in printed


def test_tests_follow_the_packages_and_the_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = 'printf "#!/bin/sh\\necho \\$2 >> ran\\n" > "$3/bin/python"; chmod +x "$3/bin/python"'
    script = f'case "$1" in -c) echo 3 99 ;; *) mkdir -p "$3/bin"; {inside} ;; esac'
    interpreter(tmp_path / "bin", "python3.99", script)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setattr(pythons, "_ROOT", tmp_path)
    assert pythons.main(["--newest"]) == 0
    assert (tmp_path / "ran").read_text().split() == ["pip", "generator.backtest.warm", "pytest"]
    assert capsys.readouterr().out.count("Unit tests on Python 3.99") == 1
