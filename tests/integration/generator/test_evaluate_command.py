"""`python3 -m generator evaluate` on the made-up panel, with the real engine."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fleet.config.schema import PanelSettings
from generator.domain import Candidate, Source
from generator.evaluators.local import LocalPlan
from generator.evaluators.panel_fields import SYNTHETIC_FIELDS, panel_fields
from tests.processes.generator import ROOT

KEYS = [
    "expression", "settings", "source", "sharpe", "turnover", "fitness", "returns", "drawdown", "margin",
    "long_count", "short_count", "days", "checks",
]  # fmt: skip


def evaluate(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "generator", "evaluate", *arguments]
    return subprocess.run(
        command, cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=110, check=False
    )


@pytest.mark.slow
def test_figures_come_in_order_one_object_a_line_and_errors_in_their_place() -> None:
    done = evaluate("--json", "--delay", "0", "--decay", "4", "rank(close)", "clse", "-", stdin="-returns\n")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1, done.stderr
    assert [row["expression"] for row in rows] == ["rank(close)", "clse", "-returns"]
    assert list(rows[0]) == list(rows[2]) == KEYS
    assert list(rows[1]) == ["expression", "error"]
    assert rows[1]["error"]["position"] == 0
    assert "unknown field" in rows[1]["error"]["reason"]
    assert rows[0]["source"] == "synthetic"
    assert rows[0]["settings"]["delay"] == 0
    assert rows[0]["settings"]["decay"] == 4


@pytest.mark.slow
def test_values_are_the_expressions_own_matrices(tmp_path: Path) -> None:
    path = tmp_path / "values.npz"
    done = evaluate("--values", str(path), "close", "wrong(", "close * 2", "--neutralization", "none")
    assert done.returncode == 1
    with np.load(path) as arrays:
        assert set(arrays) == {"values_0", "values_2", "dates", "symbols"}
        assert arrays["values_0"].shape == (len(arrays["dates"]), len(arrays["symbols"]))
        assert arrays["values_0"].dtype == np.float64
        np.testing.assert_array_equal(arrays["values_2"], 2 * arrays["values_0"])
        assert list(arrays["dates"]) == sorted(arrays["dates"])
        assert list(arrays["symbols"]) == sorted(arrays["symbols"])


@pytest.mark.slow
def test_for_a_person_it_says_that_the_panel_is_made_up() -> None:
    done = evaluate("--", "-returns")
    assert done.returncode == 0, done.stderr
    assert "(synthetic panel)" in done.stdout
    assert "sharpe" in done.stdout


@pytest.mark.slow
def test_the_made_up_panel_has_what_prompts_offer_before_it_is_made() -> None:
    evaluator = LocalPlan(PanelSettings(), Source.SYNTHETIC).load()
    assert evaluator.fields == SYNTHETIC_FIELDS == panel_fields(evaluator._panel)
    evaluator.close()


@pytest.mark.slow
def test_a_batch_keeps_its_order_with_faults_in_their_place() -> None:
    evaluator = LocalPlan(PanelSettings(), Source.SYNTHETIC).load()
    good, bad = Candidate("a", "rank(close)", "x"), Candidate("b", "gone_field", "x")
    for batch in ([bad], [good, bad][: evaluator.free + 1]):
        evaluator.submit(batch[: evaluator.free])
        for candidate, result in evaluator.results(0.0):
            assert hasattr(result, "sharpe") == (candidate is good)
    evaluator.close()


@pytest.mark.parametrize("arguments", [("--decay", "900"), ("--truncation", "2"), ("--neutralization", "x")])
def test_settings_out_of_bounds_are_usage_errors(arguments: tuple[str, str]) -> None:
    done = evaluate("close", *arguments)
    assert done.returncode == 2
    assert arguments[0] in done.stderr


@pytest.mark.slow
def test_values_that_cannot_be_written_are_reported(tmp_path: Path) -> None:
    done = evaluate("rank(close)", "--values", str(tmp_path / "none" / "v.npz"))
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


# --- on a panel of one's own -----------------------------------------------------------------------------------------


def write_panel(folder: Path) -> Path:
    """A long CSV of 60 days and 12 instruments with holes, sectors and a further field, its rows out of order."""
    rng = np.random.default_rng(4)
    rows = ["symbol,date,open,high,low,close,volume,sector,eps"]
    close = np.full(12, 40.0)
    for day in np.busday_offset("2021-03-01", np.arange(60)):
        close *= np.exp(rng.normal(0, 0.02, 12))
        for i in rng.permutation(12):
            if rng.random() < 0.05:
                continue
            low, high = close[i] * 0.99, close[i] * 1.01
            cells = [
                f"T{i:02}",
                day,
                close[i] * 1.001,
                high,
                low,
                close[i],
                rng.integers(1000, 9000),
                "xyz"[i % 3],
            ]
            rows.append(",".join(map(str, [*cells, "" if rng.random() < 0.3 else rng.normal()])))
    path = folder / "panel.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def table(path: Path, name: str) -> tuple[list[str], list[str], np.ndarray]:
    """The dates, symbols and cells of one column, read as simply as can be."""
    header, *lines = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]
    column = header.index(name)
    dates, symbols = sorted({row[1] for row in lines}), sorted({row[0] for row in lines})
    cells = np.full((len(dates), len(symbols)), np.nan)
    for row in lines:
        cells[dates.index(row[1]), symbols.index(row[0])] = float(row[column] or "nan")
    return dates, symbols, cells


@pytest.mark.slow
def test_values_on_a_panel_of_ones_own_are_those_of_its_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEET_HOME", str(tmp_path / "home"))
    panel, out = write_panel(tmp_path), tmp_path / "out.npz"
    for _ in range(2):  # read, and then mapped
        done = evaluate(
            "close", "ts_mean(eps, 5)", "rank(volume)", "ts_max(high, 3)", "--panel", str(panel), "--json",
            "--values", str(out),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert [list(row) for row in rows] == [KEYS] * 4
        assert {row["source"] for row in rows} == {"panel"}
        assert rows[0]["settings"]["neutralization"] == "sector"
        assert "the panel has no industry groups: neutralized by sector instead" in done.stderr
        dates, symbols, close = table(panel, "close")
        with np.load(out) as arrays:
            assert [str(day) for day in arrays["dates"]] == dates
            assert list(arrays["symbols"]) == symbols
            np.testing.assert_array_equal(arrays["values_0"], close)
            eps = table(panel, "eps")[2]
            assert arrays["values_1"][20, 3] == pytest.approx(np.nanmean(eps[16:21, 3]), rel=1e-12)
            volume = table(panel, "volume")[2][30]
            known = np.sort(volume[~np.isnan(volume)])
            wanted = np.searchsorted(known, volume) / (len(known) - 1)
            np.testing.assert_allclose(arrays["values_2"][30], np.where(np.isnan(volume), np.nan, wanted))


@pytest.mark.slow
def test_a_panel_with_faults_is_refused_with_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEET_HOME", str(tmp_path / "home"))
    path = tmp_path / "bad.csv"
    path.write_text("date,symbol,close\n2020-01-01,A,1\n2020-01-01,A,2\n2020-01-02,A,x\nsoon,A,1\n")
    done = evaluate("close", "--panel", str(path))
    assert done.returncode == 1
    for wanted in ("row 3: A on 2020-01-01", "row 4, column close: 'x'", "row 5, column date: 'soon'"):
        assert wanted in done.stderr
    assert "Traceback" not in done.stderr
    done = evaluate("close", "--panel", str(tmp_path / "none.csv"))
    assert done.returncode == 1
    assert "no such file" in done.stderr


@pytest.mark.slow
def test_a_panel_without_prices_still_has_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_HOME", str(tmp_path / "home"))
    path, out = tmp_path / "x.csv", tmp_path / "out.npz"
    path.write_text("date,symbol,x\n2020-01-01,A,1\n2020-01-01,B,2\n2020-01-02,A,3\n2020-01-02,B,4\n")
    done = evaluate("2 * x", "gone", "--panel", str(path), "--values", str(out), "--json")
    assert done.returncode == 1
    assert "neither close nor returns" in json.loads(done.stdout.splitlines()[0])["error"]["reason"]
    with np.load(out) as arrays:
        np.testing.assert_array_equal(arrays["values_0"], [[2, 4], [6, 8]])
        assert "values_1" not in arrays


@pytest.mark.slow
def test_a_panel_beyond_memory_is_reported_with_what_would_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEET_HOME", str(tmp_path / "home"))
    path = tmp_path / "sparse.csv"
    first = np.datetime64("1900-01-01")
    lines = [f"{first + np.timedelta64(i, 'D')},S{i:05},1.0" for i in range(40_000)]
    path.write_text("\n".join(["date,symbol,close", *lines]) + "\n")
    done = evaluate("close", "--panel", str(path))
    assert done.returncode == 1
    assert "40,000 dates x 40,000 instruments x 1 fields need 217.6 GB" in done.stderr
    assert "What would fit" in done.stderr


def test_the_miner_uses_the_configured_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_HOME", str(tmp_path / "home"))
    plan = LocalPlan(PanelSettings(path=str(write_panel(tmp_path))), Source.PANEL)
    assert plan.fields is None
    evaluator = plan.load()
    assert {"close", "eps", "returns", "adv20", "sector", "market"} <= evaluator.fields.keys()
    assert "industry" not in evaluator.fields
    evaluator.submit([Candidate("rank(eps)", "rank(eps)", "x")])
    [(_, result)] = evaluator.results(0.0)
    assert hasattr(result, "sharpe")
    assert evaluator.source.real
    evaluator.close()


@pytest.mark.slow
def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "pnl.png"
    done = evaluate("--plot", str(path), "--", "-returns", "rank($x", "returns * 0 + 1")
    assert done.returncode == 1
    raw = path.read_bytes()
    assert raw.startswith(b"\x89PNG\r\n")
    assert len(raw) > 20_000
    width, height = int.from_bytes(raw[16:20], "big"), int.from_bytes(raw[20:24], "big")
    assert (width, height) == (1100, 715)
    assert evaluate("--plot", str(tmp_path / "none" / "x.png"), "close").returncode == 1


def test_figures_that_are_missing_come_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEET_HOME", str(tmp_path / "home"))
    path = tmp_path / "one_symbol.csv"
    rows = [f"2020-01-{d:02},AAPL,{100 + d % 3}" for d in range(1, 31)]
    path.write_text("\n".join(["date,symbol,close", *rows]) + "\n")
    done = evaluate("rank(close)", "close/0", "ts_delta(close, 99)", "--panel", str(path), "--json")
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [list(row) for row in found] == [[*KEYS, "reason"]] * 3
    for row, wanted in zip(
        found, ("one instrument", "infinite", "99 days are more than the panel's 30"), strict=True
    ):
        assert row["sharpe"] is row["turnover"] is None
        assert wanted in row["reason"]
    done = evaluate("rank(close)", "--panel", str(path))
    assert done.returncode == 0, done.stderr
    assert "no figures: it holds positions on 0 of the panel's 30 days" in done.stdout
    assert "; rank(close) has no value on any day: the panel has one instrument" in done.stdout
    assert "CONCENTRATED_WEIGHT FAIL (there are no positions)" in done.stdout
