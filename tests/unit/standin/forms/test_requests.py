import json
import random
from typing import Any

import pytest

from standin.forms.go_format import FOREVER
from standin.forms.requests import (
    ApiError,
    Options,
    ask_of,
    decode,
    keep_alive_of,
    model_of,
    options_of,
    schema_of,
)
from standin.sampling.replies import prompt_tokens, reply_to


def refusal(call: Any, *values: Any, **more: Any) -> tuple[int, str]:
    with pytest.raises(ApiError) as caught:
        call(*values, **more)
    return caught.value.status, caught.value.text


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "missing request body"),
        (b" \n", "missing request body"),
        (b'{"model":', "unexpected EOF"),
        (b"[1]", "json: cannot unmarshal array into Go value"),
        (b"[" * 100_000, "exceeded max depth"),
        (b"\xff\xfe", "invalid character '\ufffd' looking for beginning of value"),
    ],
)
def test_bodies_that_cannot_be_read_are_refused(body: bytes, words: str) -> None:
    assert refusal(decode, body) == (400, words)


def test_what_follows_the_first_value_is_left() -> None:
    assert decode(b' {"a": 1} trailing') == {"a": 1}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (0, 0),
        (30, 30),
        (1.5, 1.5),
        (-1, FOREVER),
        ("5m", 300),
        ("-1s", FOREVER),
        ("0", 0),
        ("1h30m", 5400),
    ],
)
def test_keep_alive_in_all_its_forms(value: object, seconds: float | None) -> None:
    assert keep_alive_of(value) == seconds


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("soon", 'time: invalid duration "soon"'),
        ("10", 'time: missing unit in duration "10"'),
        (True, "Unsupported type: 'bool'"),
        ([], "Unsupported type: 'array'"),
    ],
)
def test_keep_alive_that_is_none_is_refused(value: object, words: str) -> None:
    assert refusal(keep_alive_of, value) == (400, words)


def test_options_are_read_and_unknown_ones_named() -> None:
    options = options_of(
        {"num_ctx": 2048.0, "num_gpu": 0, "seed": 3, "temperature": 1, "num_ctxx": 3, "top_k": None}
    )
    assert options == Options(num_ctx=2048, num_gpu=0, seed=3, unknown=("num_ctxx",))


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("num_ctx", "big", "integer"),
        ("num_gpu", True, "integer"),
        ("temperature", "hot", "float32"),
        ("use_mmap", 1, "boolean"),
        ("stop", "x", "array"),
    ],
)
def test_options_of_a_wrong_type_are_an_error_500(key: str, value: object, kind: str) -> None:
    assert refusal(options_of, {key: value}) == (500, f'option "{key}" must be of type {kind}')


@pytest.mark.parametrize(
    ("asked", "text"), [(None, ""), ("", ""), ("json", "json"), ({"type": "null"}, '{"type": "null"}')]
)
def test_formats(asked: object, text: str) -> None:
    assert schema_of(asked) == text


def test_a_format_that_is_none_is_an_error_500() -> None:
    status, text = refusal(schema_of, "yaml")
    assert status == 500
    assert text == 'invalid format: "\\"yaml\\""; expected "json" or a valid JSON Schema object'


def test_asks_of_both_kinds() -> None:
    ask = ask_of({"name": "a:b", "prompt": "p", "system": "s"}, chat=False)
    assert (ask.model, ask.prompt, ask.stream, ask.empty) == ("a:b", "sp", True, False)
    chat = ask_of(
        {"model": "a:b", "messages": [{"content": "x"}, {"content": "y"}], "stream": False}, chat=True
    )
    assert (chat.prompt, chat.stream, chat.empty) == ("x\ny", False, False)
    assert ask_of({"model": "a:b"}, chat=True).empty


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"model": 1}, "cannot unmarshal number into Go struct field .model of type string"),
        ({"stream": "no"}, "cannot unmarshal string into Go struct field .stream of type bool"),
        ({"options": []}, "of type map[string]interface {}"),
        ({"messages": ["x"]}, "ChatRequest.messages"),
    ],
)
def test_fields_of_a_wrong_type_are_refused(body: dict[str, Any], words: str) -> None:
    status, text = refusal(ask_of, body, chat=True)
    assert status == 400
    assert words in text


def test_a_missing_model_has_no_name() -> None:
    assert model_of({}) == ""


def test_prompts_fit_are_refused_or_cut() -> None:
    assert prompt_tokens("x" * 400, 512) == 104
    status, text = refusal(prompt_tokens, "x" * 2400, 512)
    inner = json.loads(text)["error"]
    assert status == 400
    assert (inner["type"], inner["n_prompt_tokens"], inner["n_ctx"]) == (
        "exceed_context_size_error",
        604,
        512,
    )
    assert prompt_tokens("x" * 9000, 512) == 258


def test_a_reply_is_cut_where_it_is_told() -> None:
    schema = json.dumps({"type": "array", "items": {"enum": ["alpha"]}, "minItems": 9, "maxItems": 9})
    whole = reply_to(schema, Options(), random.Random(1))
    cut = reply_to(schema, Options(num_predict=5), random.Random(1))
    assert json.loads(whole.text) == ["alpha"] * 9
    assert (whole.reason, cut.reason) == ("stop", "length")
    assert cut.pieces == whole.pieces[:5]


def test_a_schema_nested_too_deep_is_refused() -> None:
    schema = '{"anyOf":[' * 450 + '{"type":"null"}' + "]}" * 450
    status, text = refusal(reply_to, schema, Options(), random.Random(1))
    assert status == 400
    assert "nested too deep" in text


@pytest.mark.parametrize("schema", ["", "json"])
def test_every_reply_loses_nothing_between_its_pieces(schema: str) -> None:
    reply = reply_to(schema, Options(), random.Random(2))
    assert len(reply.pieces) > 5
    if schema:
        assert isinstance(json.loads(reply.text), dict)
    else:
        assert reply.text.startswith("This is the stand-in")
