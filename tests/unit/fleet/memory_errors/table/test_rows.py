import pytest

from fleet.memory_errors.table.bounds import EVENTS
from fleet.memory_errors.table.rows import EventPattern, Pattern
from fleet.memory_errors.table.runner import PLAIN
from fleet.memory_errors.table.server import ERROR_REPORT, QUIET, SERVER
from fleet.memory_errors.user_patterns import UserPattern, fault, user_patterns
from monitor.detection.detector import Detector, detect
from monitor.detection.prefilter import COARSE, table_needles

SIGNALS = (*PLAIN, *SERVER, ERROR_REPORT)
PREFIXES = ("", "ollama  | ", "2026-11-23T22:24:52.254123456Z ", "Nov 23 22:24:52 host ollama[4242]: ")


@pytest.mark.parametrize("row", SIGNALS, ids=lambda row: row.id)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_example_is_found_under_its_own_id_and_passes_the_prefilter(row: Pattern, prefix: str) -> None:
    detector, line = Detector(), prefix + row.example
    found = detector.detect(line)
    assert found is not None
    assert (found.pattern, found.kind) == (row.id, row.kind)
    assert list(detector.candidates(b"noise\n" + line.encode() + b"\nnoise\n")) == [
        (6, 6 + len(line.encode()))
    ]
    assert detector.may_matter(line.encode())


@pytest.mark.parametrize("row", EVENTS, ids=lambda row: row.id)
def test_every_event_is_found_and_passes_the_prefilter(row: EventPattern) -> None:
    detector = Detector()
    event = detector.read(row.example).event
    assert event is not None
    assert event.kind == row.kind
    assert list(detector.candidates(row.example.encode()))


def test_ids_are_unique_and_every_row_says_where_it_is_from() -> None:
    ids = [row.id for row in SIGNALS]
    assert len(set(ids)) == len(ids)
    assert all(row.versions for row in SIGNALS)


@pytest.mark.parametrize("needle", sorted(table_needles()))
def test_every_literal_of_the_table_holds_a_coarse_one(needle: str) -> None:
    assert any(coarse in needle.encode() for coarse in COARSE)


@pytest.mark.parametrize("quiet", QUIET)
def test_wordings_that_only_look_like_trouble_stay_quiet(quiet: str) -> None:
    assert detect(f'time=2026-11-23T22:24:52.254Z level=WARN source=sched.go:1 msg="{quiet}"') is None
    assert detect(f"something: {quiet}: out of memory") is None


# -- a user's own


def own(pattern: str, cause: str = "allocation") -> UserPattern:
    return UserPattern(pattern, cause, "user-1")


def test_a_users_pattern_is_found_and_prefiltered() -> None:
    detector = Detector(user_patterns([own(r"my driver.*ran out \d+")]))
    found = detector.detect("x my driver said it ran out 55")
    assert found is not None
    assert (found.pattern, found.kind, found.cause) == ("user-1", "hard", "allocation")
    assert list(detector.candidates(b"a\nx my driver said it ran out 55\nb\n")) == [(2, 32)]
    assert detector.detect("ran out 55 my driver") is None


@pytest.mark.parametrize(
    ("cause", "kind"), [("host", "sysmem"), ("not_recovered", "soft"), ("runner_died", "hard")]
)
def test_a_users_pattern_has_the_kind_of_its_cause(cause: str, kind: str) -> None:
    found = Detector(user_patterns([own("quux", cause)])).detect("a quux b")
    assert found is not None
    assert found.kind == kind


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(a+)+b", "repeats a group"),
        ("(?=x)abc", "not allowed"),
        (r"(a)\1bbb", "back-reference"),
        ("a?a?a?a?aaaa", "more than"),
        (r"\d+a\d+b\d+c", "more than"),
        ("abc|.*d", "outside brackets"),
        ("xx(.*)yy", "inside a bracket"),
        ("ab", "characters"),
        ("x" * 201, "characters"),
        ("a{1,1000}bc", "at most"),
        ("fo{2,}", "at most"),
        ("[abc", "no regular expression"),
        ("a*b*", "empty line"),
        ("gräßlich", "ASCII"),
    ],
)
def test_a_pattern_that_could_be_slow_or_is_wrong_is_refused_with_the_reason(pattern: str, why: str) -> None:
    assert why in (fault(pattern) or "")


@pytest.mark.parametrize(
    "pattern", ["foo|bar", r"gave up \d+ of \d+", "a.*b.+c.*?d", "(?:one|two) three", "x{2,4}y?"]
)
def test_plain_patterns_are_allowed(pattern: str) -> None:
    assert fault(pattern) is None


@pytest.mark.parametrize("pattern", ["a.*a.*a.*b", r"\d+\d+x", "a?a?a?aaa", "(?:a|aa|aaa)(?:a|aa|aaa)b"])
def test_allowed_patterns_are_never_slow(pattern: str) -> None:
    detector = Detector(user_patterns([own(pattern)]))
    for line in ("a" * 65536, "1" * 65536):
        detector.detect(line)
        list(detector.candidates(line.encode()))
