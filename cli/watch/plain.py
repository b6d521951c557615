"""`watch`: status and the last events on one screen, redrawn until Ctrl-C."""

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from cli.lanes import lane_event_lines, lane_events, lane_lines, of_each_lane, statuses
from cli.render import folded, history_lines, status_lines
from cli.status import collect_status
from cli.target import Fleet
from fleet.runtime.units import Seconds
from state.history import read_history

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_EVENTS = 100
_SHOWN = 10


def view(fleet: Fleet) -> list[str]:
    """Return one view for a pipe: status and last events."""
    if fleet.has_lanes:
        return [*lane_lines(statuses(fleet), time.time()), "", *_events_of_lanes(fleet, _SHOWN)]
    events = history_lines(read_history(fleet.home.history, _SHOWN))
    return [*status_lines(collect_status(fleet), time.time()), "", *events]


def screen(fleet: Fleet, width: int, height: int) -> list[str]:
    """Return one view that fills a terminal: the status, and as many of the last events as fit."""
    if fleet.has_lanes:
        rows = _rows(lane_lines(statuses(fleet), time.time()), width)
        events = _rows(_events_of_lanes(fleet, _EVENTS), width)
    else:
        rows = _rows(status_lines(collect_status(fleet), time.time()), width)
        events = _rows(history_lines(read_history(fleet.home.history, _EVENTS)), width)
    room = max(0, height - len(rows) - 2)
    if room:
        rows += ["", *events[-room:]]
    return [*rows[: height - 1], time.strftime("%H:%M:%S  Ctrl-C ends the view")]


def _events_of_lanes(fleet: Fleet, last: int) -> list[str]:
    found = of_each_lane(fleet, lambda lane: read_history(lane.home.history, last))
    return lane_event_lines(lane_events(found, last))


def _rows(lines: list[str], width: int) -> list[str]:
    return [row for line in lines for row in folded(line, width).split("\n")]


@contextmanager
def whole_screen() -> Iterator[None]:
    """Switch to the terminal's alternate screen; restore the first one at the end."""
    _write(_ENTER)
    try:
        yield
    finally:
        _write(_LEAVE)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def redraw(fleet: Fleet, *, interval: Seconds, count: int | None, colour: bool) -> None:
    """Redraw the view every `interval`, `count` times or until interrupted."""
    drawn = 0
    with whole_screen():
        while count is None or drawn < count:
            if drawn:
                time.sleep(interval)
            lines = screen(fleet, *shutil.get_terminal_size())
            if not colour:
                lines = [click.unstyle(line) for line in lines]
            _write(_HOME + f"{_REST_OF_LINE}\n".join(lines) + _REST_OF_LINE + _BELOW)
            drawn += 1
