"""The prefixes that log drivers, shippers and viewers put before a line, and the stamps in them.

Pure; every expression is anchored or searched in a bounded part, and never backtracks badly. There are two rules:

- A prefix of a known form is removed before any text.
- Any text before one of the server's own beginnings (slog's, GIN's, the old logger's) is a prefix. It may name a
  container, a pod or a task. A raw line of a runner has no such beginning. It stays whole, and a stamp after a name is
  its stamp.
"""

import re
from dataclasses import dataclass

from monitor.detection.timestamps import Stamp, from_iso, from_syslog, from_unix

HEADS = ("time=", "level=", "[GIN]", "{")
"""Beginnings of the server's own lines."""

_ROUNDS = 8  # prefixes nest: kubectl, container runtime, compose, journald, llama-server
_WITHIN = 300  # characters before the server's own beginning

_COLOUR = re.compile(r"\x1b\[[0-9;:?]*[ -/]*[@-~]")
_ISO_TIME = (
    r"(?P<day>\d{4}[-/]\d\d[-/]\d\d)[T _](?P<clock>\d\d:\d\d:\d\d)(?:[.,](?P<fraction>\d{1,9}))?+"
    r"(?: ?(?P<zone>UTC|GMT|Z|[+-]\d\d(?::?\d\d)?)(?![\w.]))?+"
)
_ISO = re.compile(
    rf"(?:\[|(?P<weekday>[^\W\d_]{{2,5}}) )?{_ISO_TIME}(?(weekday)(?: [A-Z]{{2,5}})?+)(?:[]:]{{1,2}}[ \t]?|[ \t]|$)"
)
_SYSLOG = re.compile(r"([^\W\d_]{3,9}\.?|\d{1,2}月) {1,2}(\d{1,2}) (\d\d:\d\d:\d\d)(?:\.\d{1,9})?+ ")
_RFC5424 = re.compile(r"<\d{1,3}>1 (\S{1,64}) (?:\S{1,255} ){4}(?:-|(?:\[[^\]\n]{1,1000}\]){1,9}) ?")
_UNIX = re.compile(r"(\d{10}\.\d{3,9}) ")
_UNIT = re.compile(
    r"(?:[\w.:@-]{1,128}+ {1,4})?[\w.@\\/-]{1,128}\[\d{1,10}\]: ?|[\w.-]{1,128} (?:systemd|kernel|ollama): "
)
_LABELS = re.compile(r"\{\w[^{}]{0,300}\}[ \t]")
_UNSTAMPED = re.compile(
    r"[\s>\ufeff\u2800-\u28ff]++"
    r"|[A-Za-z0-9\[][\w.@|\]-]{0,127}+ {1,40}\| ?"  # compose, swarm, pm2
    r"|(?:stdout|stderr) [FP] "  # container runtimes
    r"|\d{1,4}\.\d\d\.\d{3}\.\d{3} [A-Z] "  # llama-server
    r"|\[pod/[^\]\s]{1,300}\] "
    r"|<\d{1,3}>"  # syslog
    r"|\[ {0,12}\d{1,12}\.\d{6}(?: <[ .\d]{1,24}>)?\] "  # uptime
    r"|(?:[^\t\"={]{1,100}+\t){1,3}(?=\d{4}-|\{)"  # gh, fluentd
    r"|[\w-]{1,64}+(?:\.[\w-]{1,64}+){1,8}+: (?=\{)"  # fluentd's standard output: the tag
    r"|data: (?=\{)|MESSAGE="
)
_STAMP_OR_GIN = re.compile(r":\d\d:\d\d|\[GIN\] ")
_OWN = re.compile(r"time=\d{4}-|level=[A-Z]{4,5}[ +-]|\[GIN\] |\d{4}/\d\d/\d\d \d\d:\d\d:\d\d ")
_STAMP = re.compile(rf"[^\"={{}}]{{0,128}}?(?<![\w.]){_ISO_TIME}(?![\w.])")
_SHORT_STAMP = re.compile(r"[^\"={}]{0,128}?(?<![\w.-])(\d\d)-(\d\d) (\d\d:\d\d:\d\d)(?![\w.])")  # stern


@dataclass(frozen=True, slots=True)
class Bare:
    """A line without prefixes, and the stamp in them."""

    text: str
    outer: Stamp | None


def strip(text: str) -> Bare:
    """Return a line without the prefixes of log drivers and viewers."""
    if "\x1b" in text:
        text = _COLOUR.sub("", text)
    text = text.rstrip("\r\n")
    outer: Stamp | None = None
    for _ in range(_ROUNDS):
        text, stamp, changed = _without_prefix(text)
        if stamp is not None and (outer is None or (stamp.zoned and not outer.zoned)):
            outer = stamp
        if not changed:
            break
    return Bare(text, outer)


def stamp_of(text: str) -> Stamp | None:
    """Return the stamp of an ISO time that is all of the text."""
    match = _ISO.fullmatch(text)
    return _iso(match) if match else None


def _without_prefix(text: str) -> tuple[str, Stamp | None, bool]:
    """Return the text after one prefix, the prefix's stamp, and True if there was a prefix."""
    if not text or text.startswith(HEADS):
        labels = _LABELS.match(text)
        return (text[labels.end() :], None, True) if labels else (text, None, False)
    if match := _ISO.match(text):
        return text[match.end() :], _iso(match), True
    if match := _UNIX.match(text):
        return text[match.end() :], from_unix(float(match[1])), True
    if match := _SYSLOG.match(text):
        stamp = from_syslog(match[1], int(match[2]), match[3])
        rest = text[match.end() :].lstrip()
        unit = _UNIT.match(rest)
        if stamp is not None or unit is not None:
            return rest[unit.end() if unit else 0 :], stamp, True
    if match := _RFC5424.match(text):
        return text[match.end() :], stamp_of(match[1]), True
    if match := _UNSTAMPED.match(text) or _UNIT.match(text):
        return text[match.end() :], None, True
    return _before_own(text)


def _before_own(text: str) -> tuple[str, Stamp | None, bool]:
    """Return the text from the server's own beginning on, the stamp before it, and True.

    A text without a beginning stays whole, with False.
    """
    if _STAMP_OR_GIN.search(text, 0, _WITHIN) is None:
        return text, None, False
    own = _OWN.search(text, 0, _WITHIN)
    before = text[: own.start() if own else _WITHIN]
    match = _STAMP.match(before)
    short = None if match else _SHORT_STAMP.match(before)
    stamp = _iso(match) if match else from_syslog(short[1], int(short[2]), short[3]) if short else None
    if own is None or '"' in before or "{" in before:
        return text, stamp, False
    return text[own.start() :], stamp, True


def _iso(match: re.Match[str]) -> Stamp | None:
    return from_iso(match["day"], match["clock"], match["fraction"] or "", match["zone"] or "")
