import json
from typing import Any

import pytest

from generator.brain.errors import (
    BrainAwayError,
    BrainDeniedError,
    BrainGoneError,
    BrainLimitError,
    BrainQuotaError,
    BrainRefusedError,
)
from generator.brain.responses import (
    BrainAnswer,
    Ended,
    Running,
    Status,
    error_of,
    finite_number,
    messages,
    plain,
    read_answer,
    read_simulation,
    retry_after,
)

NOW = 1_700_000_000.0


def answer(status: int, document: Any = None, **headers: str) -> BrainAnswer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_answer(status, named, b"" if document is None else json.dumps(document).encode())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2.5", 2.5),
        ("0", 0.0),
        ("-3", 0.0),
        (" 10 ", 10.0),
        ("1e9", 3600.0),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10.0),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),
        ("soon", None),
        ("nan", None),
        ("", None),
    ],
)
def test_retry_after_in_every_form(text: str, seconds: float | None) -> None:
    assert retry_after(answer(200, Retry_After=text), NOW) == seconds


LIMIT = {"detail": "CONCURRENT_SIMULATION_LIMIT_EXCEEDED"}
USED_UP = {"X_Ratelimit_Limit": "10", "X_Ratelimit_Remaining": "0", "X_Ratelimit_Reset": "600"}


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (answer(429), BrainLimitError),
        (answer(429, LIMIT), BrainLimitError),
        (answer(400, LIMIT), BrainLimitError),
        (answer(400, {"detail": "SIMULATION_LIMIT_EXCEEDED"}), BrainLimitError),
        (answer(429, {"detail": "SIMULATION_LIMIT_EXCEEDED"}, **USED_UP), BrainQuotaError),
        (answer(429, LIMIT, **USED_UP), BrainLimitError),
        (answer(401, {"detail": "no"}), BrainDeniedError),
        (answer(403), BrainDeniedError),
        (answer(404, {"detail": "Not found."}), BrainGoneError),
        (answer(400, {"regular": ["blank"]}), BrainRefusedError),
        (answer(400), BrainAwayError),
        (answer(408, {"detail": "late"}), BrainAwayError),
        (answer(500, {"detail": "boom"}), BrainAwayError),
        (answer(302), BrainAwayError),
        (read_answer(200, {}, b"<html>a proxy</html>"), BrainAwayError),
        (read_answer(502, {}, b"<html>nginx</html>"), BrainAwayError),
        (read_answer(200, {}, b"[" * 100_000), BrainAwayError),
    ],
)
def test_errors_are_distinguished(given: BrainAnswer, kind: type) -> None:
    assert type(error_of(given, NOW)) is kind


@pytest.mark.parametrize("given", [answer(200, {}), answer(200, []), answer(201), answer(204)])
def test_a_success_is_no_error(given: BrainAnswer) -> None:
    assert error_of(given, NOW) is None


def test_a_limit_of_slots_differs_from_one_of_requests() -> None:
    found = [
        error_of(answer(status, said), NOW)
        for status, said in ((429, LIMIT), (400, LIMIT), (429, {"detail": "x"}))
    ]
    assert [isinstance(one, BrainLimitError) and one.slots for one in found] == [True, True, False]


def test_a_quota_says_when_it_ends() -> None:
    relative = error_of(answer(429, {"detail": "SIMULATION_LIMIT_EXCEEDED"}, **USED_UP), NOW)
    absolute = error_of(answer(429, {"detail": "x"}, **{**USED_UP, "X_Ratelimit_Reset": str(NOW + 90)}), NOW)
    assert isinstance(relative, BrainQuotaError)
    assert isinstance(absolute, BrainQuotaError)
    assert (relative.wait, absolute.wait) == (600.0, 90.0)


def test_only_a_request_that_was_turned_away_certainly_was_not_taken() -> None:
    found = [error_of(answer(status, {"detail": "x"}), NOW) for status in (500, 502, 503, 504)]
    assert [isinstance(one, BrainAwayError) and one.sent for one in found] == [True, True, False, True]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"detail": "no"}, {"": "no"}),
        ({"regular": ["a", "b"]}, {"regular": "a; b"}),
        (
            {"settings": {"universe": ["wrong"], "delay": "bad"}},
            {"settings.universe": "wrong", "settings.delay": "bad"},
        ),
        ([{}, {"regular": ["x"]}], {"regular": "x"}),
        ("text", {"": "text"}),
        (None, {}),
        ([], {}),
    ],
)
def test_messages_keep_the_field_they_are_about(document: Any, said: dict[str, str]) -> None:
    assert messages(document) == said


def test_whose_fault_a_refusal_is() -> None:
    assert BrainRefusedError({"regular": "blank"}).expression == "blank"
    assert BrainRefusedError({"settings.universe": "wrong"}).expression == ""
    assert BrainRefusedError({"regular": "x", "settings.delay": "y"}).expression == ""
    assert BrainRefusedError({"": "nothing works"}).expression == ""


def test_others_text_is_cut_and_stays_on_one_line() -> None:
    [said] = messages({"detail": "a\nb\0" + "c" * 9999}).values()
    assert "\n" not in said
    assert "\0" not in said
    assert len(said) == 500


def test_others_text_is_bounded_however_much_and_deep_it_is() -> None:
    deep: Any = "bottom"
    for _ in range(5000):
        deep = [deep]
    assert messages(deep) == {}
    said = messages(
        {f"{'k' * 500}{number}": "v" for number in range(5000)} | {str(n): "x" for n in range(99)}
    )
    assert len(said) <= 20
    assert max(map(len, said)) <= 80


def test_a_number_beyond_all_doubles_is_none() -> None:
    assert finite_number(10**400) is None
    assert finite_number(True) is None
    assert finite_number(3) == 3.0


class TestSimulation:
    """`GET` of a simulation's location."""

    def test_running(self) -> None:
        assert read_simulation(answer(200, {"progress": 0.3}, Retry_After="2.5"), NOW) == Running(2.5, 0.3)
        assert read_simulation(answer(200, {"progress": 0.3}), NOW) == Running(5.0, 0.3)
        assert read_simulation(answer(200, {"status": "PENDING"}, Retry_After="1"), NOW) == Running(1.0)

    @pytest.mark.parametrize("document", [None, [], {"status": "SOMETHING_NEW"}, {"status": 5}])
    def test_what_cannot_be_understood_is_asked_for_again(self, document: Any) -> None:
        assert isinstance(read_simulation(answer(200, document), NOW), Running)

    @pytest.mark.parametrize("status", list(Status))
    def test_every_end(self, status: Status) -> None:
        found = read_simulation(answer(200, {"status": status.value, "alpha": "x1"}, Retry_After="1"), NOW)
        assert isinstance(found, Ended)
        assert (found.status, found.alpha) == (status, "x1")

    def test_american_spelling(self) -> None:
        found = read_simulation(answer(200, {"status": "canceled"}), NOW)
        assert isinstance(found, Ended)
        assert found.status is Status.CANCELLED

    def test_a_message_names_its_place(self) -> None:
        document = {"status": "ERROR", "message": "Bad", "location": {"line": 1, "start": 3, "end": 7}}
        found = read_simulation(answer(200, document), NOW)
        assert isinstance(found, Ended)
        assert (found.message, found.located) == ("Bad (line 1, characters 3 to 7)", True)

    def test_a_parent_has_children(self) -> None:
        found = read_simulation(answer(200, {"children": ["a", "b"], "type": "REGULAR"}), NOW)
        assert isinstance(found, Ended)
        assert found.children == ("a", "b")

    @pytest.mark.parametrize("regular", ["rank(close)", {"code": "rank(close)"}])
    def test_the_expression_in_both_forms(self, regular: Any) -> None:
        found = read_simulation(answer(200, {"status": "COMPLETE", "alpha": "x", "regular": regular}), NOW)
        assert isinstance(found, Ended)
        assert found.code == "rank(close)"

    def test_an_alphas_name_is_bounded_and_fit_to_be_stored(self) -> None:
        document = {"status": "COMPLETE", "alpha": "a\0\ud800" + "x" * 999}
        found = read_simulation(answer(200, document), NOW)
        assert isinstance(found, Ended)
        assert len(found.alpha) == 64
        assert found.alpha.isprintable()


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ('Unknown variable &quot;abc&quot;. <a href="https://example.org/x?a=1&b=2">Learn more</a>',
         'Unknown variable "abc". Learn more'),
        ("<p>Operator <b>ts_mean</b> is wrong</p><br/><ul><li>one</li><li>two</li></ul>",
         "Operator ts_mean is wrong one two"),
        ("See [the page](https://example.org/page) for <code>ts_<i>delta</i></code>&nbsp;&amp; more",
         "See the page for ts_delta & more"),
        ("if_else(a <b, c> d, close)", "if_else(a <b, c> d, close)"),
        ("rank(close) < 0.5 && rank(open) > 0.5", "rank(close) < 0.5 && rank(open) > 0.5"),
        ("&lt;b&gt; stays as it was written", "<b> stays as it was written"),
        ("<" * 5000, "<" * 500),
    ],
)  # fmt: skip
def test_markup_is_taken_out_of_messages_and_comparisons_stay(sent: str, shown: str) -> None:
    assert plain(sent) == shown
    assert messages({"detail": sent}) == {"": shown}
