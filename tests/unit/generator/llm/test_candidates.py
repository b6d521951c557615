from generator.catalogue import load_catalogue
from generator.domain import CallRecord
from generator.llm.candidates import read_reply

CATALOGUE = load_catalogue()


def call(reply: str, error: str | None = None, done_reason: str = "stop") -> CallRecord:
    return CallRecord("c1", 1.0, 2.0, "m", 0, 0, "p", 200, reply=reply, error=error, done_reason=done_reason)


def test_a_reply_becomes_candidates_with_their_call_and_tree() -> None:
    reply = read_reply(call('{"expressions":[["rank","close"],["add","volume","close"]]}'), CATALOGUE)
    assert [one.expression for one in reply.candidates] == ["rank(close)", "add(volume, close)"]
    assert all(one.call == "c1" and one.model == "m" and one.tree is not None for one in reply.candidates)
    assert reply.failures == ()


def test_what_means_the_same_comes_once() -> None:
    reply = read_reply(call('{"expressions":[["add","close","volume"],["add","volume","close"]]}'), CATALOGUE)
    assert len(reply.candidates) == 1
    assert reply.repeated == 1


def test_a_wrong_expression_comes_back_with_its_reason() -> None:
    reply = read_reply(call('{"expressions":[["rank","clse"],["rank","close"]]}'), CATALOGUE)
    assert [one.expression for one in reply.candidates] == ["rank(close)"]
    assert reply.failures[0].expression == '["rank","clse"]'
    assert "clse" in reply.failures[0].reason


def test_a_reply_that_was_cut_keeps_what_is_whole() -> None:
    reply = read_reply(call('{"expressions":[["rank","close"],["ra', done_reason="length"), CATALOGUE)
    assert [one.expression for one in reply.candidates] == ["rank(close)"]


def test_rubbish_is_a_failure_and_no_more() -> None:
    for text in ("I am sorry.", "\x00\xff{", "[[[[", '{"expressions": 3}', '{"expressions":[]}'):
        reply = read_reply(call(text), CATALOGUE)
        assert reply.candidates == ()
        assert reply.failures


def test_characters_that_are_no_text_end_in_no_prompt_and_no_row() -> None:
    reply = read_reply(call('{"expressions":[["rank","\\ud800"],["rank","\\u0000"]]}'), CATALOGUE)
    assert reply.candidates == ()
    for failure in reply.failures:
        failure.reason.encode()
        assert "\0" not in failure.reason


def test_an_empty_answer_is_a_failure_and_an_error_without_text_is_none() -> None:
    assert read_reply(call(""), CATALOGUE).failures
    assert read_reply(call("", error="boom"), CATALOGUE).failures == ()


def test_plain_text_of_an_older_server_is_read() -> None:
    reply = read_reply(
        call("Here you are:\n1. rank(-ts_delta(close, 5))\n2. rank(volume / adv20)\n"), CATALOGUE
    )
    assert [one.expression for one in reply.candidates] == [
        "rank(reverse(ts_delta(close, 5)))",
        "rank(divide(volume, adv20))",
    ]
