"""The state file's format: the original's, ours, newer ones, and every kind of damage."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.config.ladder import Ladder
from fleet.config.schema import SEED_LADDER
from fleet.policy.events import EventKind
from fleet.policy.state import (
    FROM_ORIGINAL,
    CountedIncident,
    FleetState,
    Hold,
    HoursCap,
    OperatorPause,
    PastSwitch,
    Recovery,
    ReserveCap,
    Switch,
    SwitchKind,
    SwitchPhase,
    Unanswered,
)
from fleet.runtime.untrusted import LATEST
from monitor.incidents.state import Failure
from state.codec import StateFormatError, decode_state, default_state, encode_state, from_json

T = 1_800_000_000.0
ORIGINAL = {
    "current_model_index": 2,
    "vram_error_count": 1,
    "current_model": "tinyllama:1.1b",
    "timestamp": T,
}
FULL = FleetState(
    current_model_index=1,
    vram_error_count=2,
    current_model="phi3:mini",
    timestamp=T,
    switches=7,
    incidents=(CountedIncident(T, "allocation", "a"), CountedIncident(T + 0.25, "runner_died", "b")),
    counted_ids=("a", "b"),
    last_finished=T - 5.5,
    finished=12,
    failed=3,
    cursors={"docker:naive-ollma-gpu": {"time": "2026-11-23T22:24:52.254123456Z", "seen": [1, 2]}},
    open={"load": {"began": T, "lines": ["a \u2028 b"]}},
    watch={"away": None},
    switch=Switch(
        number=9,
        kind=SwitchKind.USE,
        phase=SwitchPhase.VERIFY,
        source=0,
        target=1,
        since=T,
        why="asked for by hand",
        by_hand=True,
        pin=True,
        was_stopped=True,
        failures=1,
        failed_at=T,
        restarted=T + 0.5,
        attempts=2,
    ),
    last_switch=PastSwitch(SwitchKind.USE, "llama3.2:3b", "phi3:mini", T, "asked for by hand", by_hand=True),
    automatic=(T - 9, T - 1.5),
    hold=Hold(T + 60, 3, "why"),
    recovery=Recovery(1200.0, T + 1200, (0, 1), T + 600, 2, home_on_cpu=True),
    ceiling=1,
    pinned=True,
    restarting=True,
    on_cpu=False,
    current_options={"num_ctx": 2048, "stop": ["a"], "f16_kv": True, "temperature": 0.5},
    model_size_bytes=2_306_867_200,
    ladder_hash="0123",
    unanswered=Unanswered(T - 90, 14, "unexpected EOF", waited=True, hangs=True, reported=True),
    pause=OperatorPause(T - 60, None, "paused by hand"),
    hours=HoursCap("none", None, T - 5, T + 600),
    reserve=ReserveCap(2, T - 7, -1),
    displaced=0,
    last_event_number=11,
    extra={"ours_of_tomorrow": {"deep": [1, {"er": None}]}},
).with_event(T, EventKind.HELD, seconds=60.0, why="why")


def test_every_part_of_the_state_survives_the_file() -> None:
    text = encode_state(FULL, T)
    assert decode_state(text) == FULL
    assert list(json.loads(text))[1:5] == list(ORIGINAL)[:4]
    assert {key: json.loads(text)[key] for key in ORIGINAL} == {
        "current_model_index": 1,
        "vram_error_count": 2,
        "current_model": "phi3:mini",
        "timestamp": T,
    }


def test_the_file_has_every_key_that_others_rely_on() -> None:
    named = {"schema_version", "switches", "incidents", "cursors", "open", "switch", "recovery", "ceiling"}
    named |= {"pinned", "model_size_bytes", "ladder_hash", "events"}
    row = json.loads(encode_state(FULL, T))
    assert set(row) >= {*ORIGINAL, *named}
    assert set(row["pause"]) == {"since", "until", "why"}
    assert set(row["hours"]) >= {"model", "until"}
    assert set(row["switch"]) >= {"phase", "from", "to", "since", "why"}
    assert set(row["recovery"]) >= {"wait", "next", "failed"}
    assert set(row["incidents"][0]) >= {"time", "cause"}
    bare = json.loads(encode_state(default_state(SEED_LADDER, T), T))
    assert set(bare) >= {*ORIGINAL, *named}
    assert bare["switch"] is None


def test_the_time_of_the_write_is_the_timestamp() -> None:
    assert decode_state(encode_state(FULL, T + 1)).timestamp == T + 1


def test_an_originals_file_loads_with_its_count() -> None:
    state = decode_state(json.dumps(ORIGINAL))
    assert (state.current_model_index, state.vram_error_count, state.current_model) == (
        2,
        1,
        "tinyllama:1.1b",
    )
    assert state.incidents == (CountedIncident(T, FROM_ORIGINAL),)
    assert (state.switches, state.switch, state.pinned) == (0, None, False)


def test_an_originals_file_without_its_later_keys_loads() -> None:
    assert decode_state('{"current_model_index": 1}').current_model == ""


def test_unknown_keys_are_kept_and_do_not_hide_ours() -> None:
    row = json.loads(encode_state(FULL, T)) | {"from_tomorrow": [1, 2], "schema_version": 99}
    again = json.loads(encode_state(decode_state(json.dumps(row)), T))
    assert again["from_tomorrow"] == [1, 2]
    assert again["schema_version"] == 1


@pytest.mark.parametrize("key", ["switch", "recovery", "pause", "hours", "reserve"])
def test_unknown_keys_within_a_part_are_kept_until_the_part_is_replaced(key: str) -> None:
    row = json.loads(encode_state(FULL, T))
    row[key]["from_tomorrow"] = {"a": [1]}
    state = decode_state(json.dumps(row))
    assert json.loads(encode_state(state, T))[key] == row[key]
    changed = replace(
        state, **{key: replace(getattr(state, key), since=T - 1) if key != "recovery" else Recovery()}
    )
    again = json.loads(encode_state(changed, T))[key]
    assert ("from_tomorrow" in again) == (key != "recovery")


@pytest.mark.parametrize("part", ["phase", "kind"])
def test_a_switch_of_a_newer_version_is_dropped_and_the_rest_of_the_state_stays(part: str) -> None:
    row = json.loads(encode_state(FULL, T))
    row["switch"][part] = "of tomorrow"
    state = decode_state(json.dumps(row))
    assert replace(
        state, events=FULL.events, totals=FULL.totals, last_event_number=FULL.last_event_number
    ) == (replace(FULL, switch=None))
    assert [event.kind for event in state.events] == [EventKind.HELD, EventKind.STATE_REPAIRED]
    assert "newer version" in state.events[-1].fields["reason"]
    assert decode_state(encode_state(state, T)) == state


def test_a_choice_of_a_newer_version_in_an_optional_part_counts_as_missing() -> None:
    row = json.loads(encode_state(FULL, T))
    row["unanswered"]["slow"] = "of tomorrow"
    row["last_switch"]["kind"] = "of tomorrow"
    assert decode_state(json.dumps(row)) == replace(FULL, last_switch=None)


def test_an_event_of_a_newer_version_does_not_hide_the_state() -> None:
    row = json.loads(encode_state(FULL, T))
    newer = {"number": 7, "time": T, "kind": "of.tomorrow", "x": 1}
    assert decode_state(json.dumps(row | {"events": [newer, *row["events"]]})) == FULL


@pytest.mark.parametrize("event", [None, {"kind": "incident"}, {"number": 1, "time": T}, {"kind": 5}])
def test_a_damaged_event_is_damage(event: object) -> None:
    row = json.loads(encode_state(FULL, T))
    with pytest.raises(StateFormatError):
        decode_state(json.dumps(row | {"events": [event]}))


def test_a_failure_that_an_older_version_reported_is_not_reported_again() -> None:
    row = {"number": 3, "first": T, "last": T, "patterns": ["gpu-buffer"], "named": True}
    assert from_json(Failure, {**row, "told": True}) == Failure(3, T, T, named=True, reported=True)
    assert from_json(Failure, {**row, "told": True, "reported": False}) == Failure(3, T, T, named=True)
    assert from_json(Failure, row) == Failure(3, T, T, named=True)


def test_the_default_stands_on_the_top_rung() -> None:
    state = default_state(SEED_LADDER, T)
    assert (state.current_model_index, state.current_model, state.vram_error_count) == (0, "llama3.2:3b", 0)
    assert decode_state(encode_state(state, T)) == state


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "null",
        "17",
        '"current_model_index"',
        "[]",
        "{}",
        '{"current_model": "llama3.2:3b"}',
        "\0" * 400,
        "\ufeff{}",
        "[" * 200_000,
        '{"a":' * 90 + "1" + "}" * 90,
        '{"current_model_index": 1e999}',
        '{"current_model_index": ' + "9" * 5000 + "}",
        "<html><body>502 Bad Gateway</body></html>",
        '{"name": "naive-ollama", "dependencies": {"left-pad": "1.0"}}',
    ],
)
def test_what_is_no_state_is_told_as_such(text: str) -> None:
    with pytest.raises(StateFormatError, match="no state of a fleet"):
        decode_state(text)


def test_what_is_cut_off_anywhere_is_told_as_damaged() -> None:
    text = encode_state(FULL, T).rstrip()
    for length in range(len(text)):
        with pytest.raises(StateFormatError):
            decode_state(text[:length])


_WRONG: list[Any] = ["text", -1, 1.5, True, [], {}, [None], {"a": 1}, [[1]], None, 10**400, "\ud800"]


@pytest.mark.parametrize("key", sorted(json.loads(encode_state(FULL, T))))
@pytest.mark.parametrize("value", _WRONG, ids=[f"{value!r:.20}" for value in _WRONG])
def test_a_value_of_another_type_is_damage_or_is_read_as_what_it_can_be(key: str, value: Any) -> None:
    row = json.loads(encode_state(FULL, T)) | {key: value}
    try:
        state = decode_state(json.dumps(row))
    except StateFormatError:
        return
    again = decode_state(encode_state(state, T))
    assert again == decode_state(encode_state(again, T))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
@pytest.mark.parametrize("key", ["timestamp", "last_finished", "from_tomorrow"])
def test_what_json_cannot_say_is_damage(number: str, key: str) -> None:
    with pytest.raises(StateFormatError):
        decode_state(f'{{"current_model_index": 0, "{key}": {number}}}')


@pytest.mark.parametrize(("time", "read"), [(-1, 0.0), (-1e308, 0.0), (2.6e11, LATEST), (1e308, LATEST)])
def test_a_time_that_no_calendar_has_is_read_as_the_nearest(time: float, read: float) -> None:
    row = json.loads(encode_state(FULL, T))
    row |= {
        "timestamp": time,
        "automatic": [time],
        "switch": row["switch"] | {"since": time, "phase": "newer"},
    }
    state = decode_state(json.dumps(row))
    assert (state.timestamp, state.automatic) == (read, (read,))
    assert decode_state(encode_state(state, T)) == replace(state, timestamp=T)


def test_a_count_beyond_64_bits_is_damage() -> None:
    row = json.loads(encode_state(FULL, T)) | {"model_size_bytes": 2**64}
    with pytest.raises(StateFormatError):
        decode_state(json.dumps(row))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(changes=st.dictionaries(st.sampled_from(sorted(json.loads(encode_state(FULL, T)))), _json, max_size=3))
def test_whatever_stands_in_the_file_is_a_state_or_damage(changes: dict[str, Any]) -> None:
    text = json.dumps(json.loads(encode_state(FULL, T)) | changes)
    try:
        state = decode_state(text)
    except StateFormatError:
        return
    assert math.isfinite(state.timestamp)
    assert decode_state(encode_state(state, T)).current_model_index == state.current_model_index


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=60))
def test_rubbish_is_damage(content: bytes) -> None:
    with pytest.raises(StateFormatError):
        decode_state(content.decode("latin-1"))


def test_the_ladder_of_the_default_is_remembered() -> None:
    short = Ladder(list(SEED_LADDER)[:2])
    assert default_state(short, T).ladder_hash == short.digest
