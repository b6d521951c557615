"""The page's parts: a view in, escaped HTML out."""

import re
import time
from html import unescape
from typing import Any

import pytest

from cli.subcommand import command_result
from fleet.policy.events import Event, EventKind
from generator.storage.read import SORTS, AlphaRow
from web.feed import View, rate, stale_parts
from web.page import markup, tables
from web.page.charts import memory_chart, model_chart, thinned
from web.page.shell import navigation
from web.readings import MemorySample

NOW = 2_000_000_000.0
EVIL = "<script>alert(1)</script>\x1b[31m"


def status(**values: Any) -> dict[str, Any]:
    return {
        "current_model": {"name": "b:1", "index": 1}, "ladder": ["a:1", "b:1", EVIL], "pinned": True, "ceiling": 1,
        "switch": {"kind": "upgrade", "phase": "trial", "to": 0}, "hold": None, "can_downgrade": False,
        "last_switch": {"kind": "downgrade", "from": "a:1", "to": "b:1", "time": NOW - 5, "why": EVIL},
        "recovery": {"next": NOW + 60, "why": "after 10m"}, "vram_error_count": 2, "max_vram_errors": 3,
        "programs": {"monitor": {"state": "RUNNING", "description": "pid 1"}}, "available_models": [EVIL],
        "log_source": "docker:x", "log_source_away": None, "gpu_memory": None, "generator": None,
        "faults": [{"part": "calls", "detail": EVIL, "hint": "mend it"}], **values,
    }  # fmt: skip


def view(events: list[Event] | None = None, **values: Any) -> View:
    samples = [MemorySample(NOW - 60, 100 << 20), MemorySample(NOW - 30, 200 << 20, 300 << 20, 400 << 20)]
    return View(NOW, status(**values), events or [], samples, 12.34, {"monitor": NOW - 100})


INCIDENT = Event(7, NOW - 40, EventKind.INCIDENT, {
    "cause": "allocation", "model": EVIL, "counted": True, "errors": 1, "threshold": 3, "lines": [EVIL],
})  # fmt: skip
COMMITTED = Event(8, NOW - 35, EventKind.SWITCH_COMMITTED, {"switch": "downgrade", "to": "b:1"})

PARTS = [markup.banner, markup.ladder, markup.count, markup.programs, markup.memory, markup.speed, markup.pulls,
         lambda seen: markup.events(seen.events, lines=True), lambda seen: tables.history(seen, "")]  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_no_text_from_outside_becomes_markup(part: Any) -> None:
    html = part(view([INCIDENT, COMMITTED]))
    assert "<script>" not in html
    assert "\x1b" not in html


def test_the_ladder_shows_where_the_fleet_is_and_why() -> None:
    html = markup.ladder(view())
    assert html.count('aria-current="true"') == 1
    for said in ("here", "pinned", "ceiling", "upgrade: trial", "in 1m", "after 10m"):
        assert said in html


def test_the_banner_names_faults_and_stale_parts() -> None:
    html = markup.banner(view())
    assert "mend it" in html
    assert "monitor" in html
    assert "stale" in html
    assert "All is well" in markup.banner(View(NOW, status(faults=[]), [], []))


def test_an_incident_shows_the_lines_that_told() -> None:
    html = tables.history(view([INCIDENT]), "incident")
    assert "<details>" in html
    assert "&lt;script&gt;" in html
    assert "No." in html
    assert "Nothing has happened" in tables.history(view([INCIDENT]), "pull")


def test_a_pull_under_way_shows_until_it_ends() -> None:
    begun = Event(1, NOW, EventKind.PULL_STARTED, {"model": "a:1"})
    ended = Event(2, NOW, EventKind.PULL_DONE, {"model": "a:1"})
    assert "<progress" in markup.pulls(view([begun]))
    assert not markup.pulls(view([begun, ended]))
    assert 'value="50"' in markup.pulls(
        view(pull={"model": "a:1", "completed_bytes": 50, "total_bytes": 100})
    )


def test_a_pause_and_a_hold_show() -> None:
    html = markup.count(
        view(hold={"until": NOW + 9, "why": "no memory"}, pause={"until": None, "why": "game"})
    )
    assert "held until" in html
    assert "paused until resumed" in html
    assert "game" in html


def test_marks_of_incidents_and_switches_stand_in_the_chart() -> None:
    options = memory_chart(view([INCIDENT, COMMITTED]))
    marks = options["series"][0]["markLine"]["data"]
    assert [mark["xAxis"] for mark in marks] == [round((NOW - 40) * 1000), round((NOW - 35) * 1000)]
    assert [line["name"] for line in options["series"]] == [
        "Ollama's models",
        "in use on the cards",
        "on the cards in all",
    ]
    assert options["series"][0]["data"][-1][1] == 200
    assert memory_chart(View(NOW, status(), [], []))["series"] == []


def test_many_samples_are_thinned_and_the_last_one_stays() -> None:
    samples = [MemorySample(float(number)) for number in range(40_000)]
    few = thinned(samples)
    assert len(few) <= 1500
    assert few[-1].time == 39_999


def test_a_model_without_time_in_use_is_in_no_chart() -> None:
    rows = [
        {"model": "a", "alphas_per_hour": 2.0, "vram_bytes": None},
        {"model": "b", "alphas_per_hour": None, "vram_bytes": 5},
        {"model": "c", "alphas_per_hour": 1.0, "vram_bytes": 700_000_000},
    ]
    assert model_chart(rows)["yAxis"]["data"] == ["a", "c\n668 MB"]


def test_a_block_keeps_the_indentation_of_its_lines() -> None:
    assert markup.block(["add", "  rank", "\tx<y"]) == '<pre tabindex="0">add\n  rank\nx&lt;y</pre>'


def test_the_count_names_the_last_incident() -> None:
    html = markup.count(view([INCIDENT, COMMITTED]))
    assert "40s ago" in html
    assert "allocation (1 of 3)" in html


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None), ([(0.0, 5.0)], None), ([(0.0, 5.0), (10.0, 25.0)], 2.0), ([(0.0, 5.0), (10.0, 1.0)], None),
        ([(-100.0, 0.0), (0.0, 5.0), (10.0, 25.0)], 2.0), ([(10.0, 1.0), (10.0, 2.0)], None),
    ],
)  # fmt: skip
def test_the_rate_of_a_counter(values: list[tuple[float, float]], expected: float | None) -> None:
    assert rate(values, 10.0) == expected


def test_what_is_older_than_three_intervals_is_stale() -> None:
    assert stale_parts({"a": (NOW - 89, 30.0), "b": (NOW - 91, 30.0), "c": (NOW + 9, 1.0)}, NOW) == {
        "b": NOW - 91
    }


@pytest.mark.parametrize(
    ("code", "out", "err", "done", "sentence"),
    [
        (0, b'{"model": "a:1", "sentence": "the generator is up"}', b"", True, "a:1: the generator is up"),
        (3, b'{"sentence": "saved"}', b"", True, "saved"),
        (0, b"nonsense", b"", True, "done"),
        (1, b"", b"Error: no smaller model\nHint: see it\n", False, "no smaller model. Hint: see it"),
        (2, b"", b"Error: No such option '--x'.\n", False, "No such option '--x'"),
        (1, b"", b"", False, "the command ended with exit code 1"),
        (None, b"[]", b"", False, "the command ended with exit code None"),
    ],
)
def test_the_result_of_an_action_is_that_of_its_command(
    code: int | None, out: bytes, err: bytes, done: bool, sentence: str
) -> None:
    result = command_result(code, out, err)
    assert (result.done, result.sentence) == (done, sentence)


ALPHA = AlphaRow(
    id=7, expression="rank(close)", canonical="", model="a:1", source="panel", settings={}, sharpe=1.0,
    turnover=0.1, fitness=2.0, returns=0.1, drawdown=0.1, margin=0.001, long_count=1.0, short_count=1.0,
    days=9, checks=[], alpha_id=None, grade=None, kept=True, time=NOW, call_id=None,
)  # fmt: skip


@pytest.mark.parametrize(
    ("sort", "shown"),
    [
        ("fitness", ["Expression", "Luck", "Fitness\xa0▾", "Sharpe"]),
        ("sharpe", ["Expression", "Luck", "Fitness", "Sharpe\xa0▾"]),
        ("time", ["Expression", "Luck", "Sharpe", "Time\xa0▾"]),
    ],
)
def test_a_phone_shows_few_columns_of_the_alphas_and_the_sorted_one(sort: str, shown: list[str]) -> None:
    html = tables.alphas([ALPHA], sort, kept=False, contains="")
    heads = re.findall(r'<th scope="col"(.*?)>(.*?)</th>', html)
    names = [unescape(re.sub("<.*?>", "", name)) for kind, name in heads if "wide" not in kind]
    assert names == shown
    cells = re.findall(r"<td(.*?)>", html)
    assert [("wide" in kind) for kind in cells] == [("wide" in kind) for kind, _ in heads]
    narrow = html.partition('<div class="narrow">')[2].partition("</div>")[0]
    assert [name for name in SORTS if f"?sort={name}" in narrow] == list(SORTS)


def test_the_links_of_alphas_keep_the_lane() -> None:
    html = tables.alphas([ALPHA], "fitness", kept=False, contains="", lane="gpu1")
    for link in ('href="/alphas/7?lane=gpu1"', 'href="/diverse?lane=gpu1"', "sort=sharpe&amp;lane=gpu1"):
        assert link in html
    row = {"id": 7, "expression": "x", "model": "a", "sharpe": 1.0, "set_sharpe": 1.0, "correlation": None}
    assert 'href="/alphas/7?lane=gpu1"' in tables.diverse([row], "gpu1")
    assert 'href="/alphas/7"' in tables.diverse([row])


def test_a_moment_is_in_utc_and_machine_readable() -> None:
    assert f'datetime="{time.strftime("%Y", time.gmtime(NOW))}' in markup.moment(NOW)


def test_the_links_of_lanes_keep_the_view_and_those_of_views_the_lane() -> None:
    alone = navigation("/incidents", "", ())
    assert "lane" not in alone
    assert alone.count('aria-current="page"') == 1
    chosen = navigation("/incidents", "b", ("a", "b"))
    for link in ('href="/models?lane=b"', 'href="/incidents?lane=a"', 'href="/">All lanes'):
        assert link in chosen
    assert chosen.count('aria-current="page"') == 2
    assert '<a href="/" aria-current="page">All lanes' in navigation("/", None, ("a", "b"))
