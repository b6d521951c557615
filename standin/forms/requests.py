"""Request bodies, checked in Ollama's order and refused in its words (pure)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet.runtime.units import Seconds
from standin.forms.go_format import FOREVER, decode_error, parse_duration, quoted

DEFAULT_KEEP_ALIVE: Seconds = 300.0
DEFAULT_CONTEXT = 4096
_LEAST_CONTEXT = 4

_INTEGERS = {
    "num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "draft_num_predict", "num_keep", "seed",
    "num_predict", "top_k", "repeat_last_n",
}  # fmt: skip
_FLOATS = {
    "top_p", "min_p", "typical_p", "temperature", "repeat_penalty", "presence_penalty", "frequency_penalty",
}  # fmt: skip
_KINDS = {
    **dict.fromkeys(_INTEGERS, "integer"),
    **dict.fromkeys(_FLOATS, "float32"),
    "use_mmap": "boolean",
    "stop": "array",
}

_LEVELS = ("high", "medium", "low", "max")
_THINK_VALUES = '"high", "medium", "low", "max", true, or false'


class ApiError(Exception):
    """A request is answered with an error: its status and its text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True)
class Options:
    """The options that the stand-in acts upon; `unknown` are those that Ollama would warn of."""

    num_ctx: int = DEFAULT_CONTEXT
    num_gpu: int = -1
    num_predict: int = -1
    seed: int | None = None
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """A body of `/api/generate` or `/api/chat`; `format` is the schema's JSON text, `"json"` or empty.

    `keep_alive` and `think` are None if the request lacks them; `think` is not checked yet.
    """

    model: str
    prompt: str
    empty: bool
    stream: bool
    format: Any
    keep_alive: Seconds | None
    options: Mapping[str, Any]
    think: Any


def decode(body: bytes) -> dict[str, Any]:
    """Return a body's object; raise ApiError 400 as Ollama's decoder would."""
    if not body.strip():
        raise ApiError(400, "missing request body")
    text = body.decode("utf-8", "replace")
    try:
        # Go's decoder reads one value and ignores the rest.
        document, _ = json.JSONDecoder().raw_decode(text.lstrip())
    except json.JSONDecodeError as error:
        raise ApiError(400, decode_error(text.lstrip(), error)) from error
    except RecursionError as error:
        raise ApiError(400, "exceeded max depth") from error
    if not isinstance(document, dict):
        raise ApiError(400, f"json: cannot unmarshal {_go_kind(document)} into Go value")
    return document


def ask_of(body: Mapping[str, Any], *, chat: bool) -> Ask:
    """Return the request in a body of generate or chat; raise ApiError 400."""
    messages = _field(body, "messages", list, []) if chat else []
    prompt = _prompt_of(messages) if chat else _field(body, "prompt", str, "")
    return Ask(
        model=model_of(body),
        prompt=prompt if chat else _field(body, "system", str, "") + prompt,
        empty=not messages if chat else not prompt,
        stream=_field(body, "stream", bool, True),  # noqa: FBT003  # Ollama's default
        format=body.get("format"),
        keep_alive=keep_alive_of(body.get("keep_alive")),
        options=_field(body, "options", dict, {}),
        think=body.get("think"),
    )


def check_think(think: object) -> None:
    """Raise ApiError 400 for a `think` that a server with thinking refuses."""
    if isinstance(think, str) and think not in _LEVELS:
        raise ApiError(400, f"invalid think value: {quoted(think)} (must be {_THINK_VALUES})")
    if think is not None and not isinstance(think, bool | str):
        raise ApiError(400, f"think must be a boolean or string ({_THINK_VALUES})")


def model_of(body: Mapping[str, Any]) -> str:
    """Return the model that a body names, under `model` or the older `name`."""
    return str(_field(body, "model", str, "") or _field(body, "name", str, ""))


def flag_of(body: Mapping[str, Any], key: str, *, default: bool) -> bool:
    """Return a body's flag."""
    return bool(_field(body, key, bool, default))


def _prompt_of(messages: list[Any]) -> str:
    if any(not isinstance(message, dict) for message in messages):
        raise ApiError(
            400, "json: cannot unmarshal value into Go struct field ChatRequest.messages of type api.Message"
        )
    return "\n".join(str(message.get("content", "")) for message in messages)


def _field(body: Mapping[str, Any], key: str, kind: type, default: Any) -> Any:
    value = body.get(key)
    if value is None:
        return default
    if not isinstance(value, kind):
        named = {str: "string", bool: "bool", dict: "map[string]interface {}", list: "[]api.Message"}[kind]
        raise ApiError(
            400, f"json: cannot unmarshal {_go_kind(value)} into Go struct field .{key} of type {named}"
        )
    return value


def _go_kind(value: object) -> str:
    for kind, name in ((bool, "bool"), (str, "string"), (dict, "object"), (list, "array")):
        if isinstance(value, kind):
            return name
    return "null" if value is None else "number"


def keep_alive_of(value: object) -> Seconds | None:
    """Return the seconds of a `keep_alive` in any of its forms: infinite if negative, None for none."""
    if value is None:
        return None
    if isinstance(value, bool | list | dict):
        raise ApiError(400, f"Unsupported type: '{_go_kind(value)}'")
    if isinstance(value, str):
        try:
            seconds = parse_duration(value)
        except ValueError as error:
            raise ApiError(400, str(error)) from error
    else:
        seconds = float(str(value))
    return FOREVER if seconds < 0 else seconds


def options_of(table: Mapping[str, Any]) -> Options:
    """Return a request's options; raise ApiError 500 for one of a wrong type."""
    for key, value in table.items():
        kind = _KINDS.get(key)
        if kind is not None and value is not None and not _is_kind(value, kind):
            raise ApiError(500, f"option {quoted(key)} must be of type {kind}")
    whole = {key: int(value) for key, value in table.items() if key in _INTEGERS and value is not None}
    return Options(
        num_ctx=max(_LEAST_CONTEXT, whole.get("num_ctx", DEFAULT_CONTEXT)),
        num_gpu=whole.get("num_gpu", -1),
        num_predict=whole.get("num_predict", -1),
        seed=whole.get("seed"),
        unknown=tuple(key for key in table if key not in _KINDS),
    )


def _is_kind(value: object, kind: str) -> bool:
    if kind in {"integer", "float32"}:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, bool if kind == "boolean" else list)


def schema_of(asked: object) -> str:
    """Return the `format` as text (empty, `json` or a schema's JSON); raise ApiError 500 for others."""
    if asked is None or asked == "":
        return ""
    if asked == "json":
        return "json"
    if isinstance(asked, dict):
        return json.dumps(asked)
    shown = quoted(json.dumps(asked))
    raise ApiError(500, f'invalid format: {shown}; expected "json" or a valid JSON Schema object')


def runner_error(text: str, kind: str, **more: int) -> ApiError:
    """Return the refusal of the runner, which Ollama hands on as JSON within its own."""
    inner = {"code": 400, "message": text, "type": kind, **more}
    return ApiError(400, json.dumps({"error": inner}, separators=(",", ":"), ensure_ascii=False))


def schema_error(text: str) -> ApiError:
    """Return the refusal of a schema that cannot be turned into a grammar."""
    message = f"Field 'json_schema': \"json_schema\": JSON schema conversion failed:\n{text}"
    return runner_error(message, "invalid_request_error")
