"""The stand-in's models: names, sizes and the figures that GPU memory follows from.

The four models of the default ladder have the shapes of the real ones. The shape of any other is derived from its size.
Digests are derived from name and size: they are the same in every run.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from fleet.config.ladder import full_name
from fleet.runtime.units import Bytes, parse_size
from standin.forms.go_format import human_number

REGISTRY = "registry.example"
BLOBS = "/root/.ollama/models/blobs"
TEMPLATE = "{{ .Prompt }}"
_TEMPLATE_SIZE = len(TEMPLATE)
_CONFIG_SIZE = 154


_SWITCHED = re.compile(r"deepseek-r1|qwen3(?!-coder|-embedding|[^:]*instruct)|magistral")


class Thinking(Enum):
    """Whether a model thinks before it answers: never, unless it is switched off, or always (Harmony)."""

    NEVER = "never"
    SWITCHED = "switched"
    ALWAYS = "always"


def thinking_of(name: str) -> Thinking:
    """Return the kind of thinking of the real model of that name."""
    bare = canonical(name).rsplit("/", 1)[-1]
    if bare.startswith("gpt-oss"):
        return Thinking.ALWAYS
    return Thinking.SWITCHED if _SWITCHED.match(bare) else Thinking.NEVER


def _digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Layer:
    """One blob of a model, as a pull names it."""

    digest: str
    size: Bytes


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model: its file's size and its architecture, in the words of `/api/show`'s `model_info`."""

    name: str
    size: Bytes
    family: str
    parameters: int
    layers: int
    heads: int
    kv_heads: int
    embedding: int
    feed_forward: int
    context: int
    vocabulary: int
    thinking: Thinking = Thinking.NEVER

    @property
    def capabilities(self) -> list[str]:
        """Return the capabilities that a server which knows of thinking lists."""
        return ["completion"] if self.thinking is Thinking.NEVER else ["completion", "thinking"]

    @property
    def weights(self) -> Bytes:
        """Return the bytes of the weights' blob, which is nearly all of the model."""
        return self.size - _TEMPLATE_SIZE - _CONFIG_SIZE

    @property
    def head_size(self) -> int:
        """Return the width of an attention head; keys and values have the same."""
        return self.embedding // self.heads

    @property
    def digest(self) -> str:
        """Return the digest of the model's manifest."""
        return _digest("manifest", self.name, self.size)

    @property
    def blobs(self) -> tuple[Layer, ...]:
        """Return the layers in the order in which a pull fetches them, the weights first."""
        return (
            Layer(_digest("weights", self.name, self.size), self.weights),
            Layer(_digest("template", TEMPLATE), _TEMPLATE_SIZE),
            Layer(_digest("config", self.name, self.size), _CONFIG_SIZE),
        )

    @property
    def blob_path(self) -> str:
        """Return where the weights would lie on Ollama's disk."""
        return f"{BLOBS}/sha256-{self.blobs[0].digest}"


SEED_MODELS: tuple[ModelSpec, ...] = (
    ModelSpec(
        name="llama3.2:3b",
        size=parse_size("2.0 GB"),
        family="llama",
        parameters=3_212_749_888,
        layers=28,
        heads=24,
        kv_heads=8,
        embedding=3072,
        feed_forward=8192,
        context=131072,
        vocabulary=128256,
    ),
    ModelSpec(
        name="phi3:mini",
        size=parse_size("2200 MB"),
        family="phi3",
        parameters=3_821_079_648,
        layers=32,
        heads=32,
        kv_heads=32,
        embedding=3072,
        feed_forward=8192,
        context=131072,
        vocabulary=32064,
    ),
    ModelSpec(
        name="tinyllama:1.1b",
        size=parse_size("637 MB"),
        family="llama",
        parameters=1_100_048_384,
        layers=22,
        heads=32,
        kv_heads=4,
        embedding=2048,
        feed_forward=5632,
        context=2048,
        vocabulary=32000,
    ),
    ModelSpec(
        name="qwen2.5:0.5b",
        size=parse_size("397 MB"),
        family="qwen2",
        parameters=494_032_768,
        layers=24,
        heads=14,
        kv_heads=2,
        embedding=896,
        feed_forward=4864,
        context=32768,
        vocabulary=151936,
    ),
)


def spec_for(name: str, size: Bytes) -> ModelSpec:
    """Return a model of that name and size; raise ValueError if no model can be so small.

    A name of the default ladder keeps its architecture. Any other counts as a Llama of about 4.85 bits a weight
    (Q4_K_M). Its number of parameters gives the layers and heads.
    """
    if size < 10_000:  # noqa: PLR2004  # smaller than any file that holds weights
        raise ValueError(f"a model of {size} bytes is no model")
    known = next((spec for spec in SEED_MODELS if spec.name == name), None)
    if known is not None:
        return replace(known, size=size)
    parameters = int(size * 8 / 4.85)
    embedding = max(64, round((parameters / 300) ** (1 / 3) / 64 * 4) * 64)
    layers = max(1, round(parameters / (12 * embedding**2)))
    thinking = thinking_of(name)
    return ModelSpec(
        name=name,
        size=size,
        family="gptoss" if thinking is Thinking.ALWAYS else "llama",
        parameters=parameters,
        layers=layers,
        heads=max(1, embedding // 64),
        kv_heads=max(1, embedding // 256),
        embedding=embedding,
        feed_forward=embedding * 8 // 3,
        context=131072,
        vocabulary=32000,
        thinking=thinking,
    )


def made_thinking(spec: ModelSpec, names: Iterable[str]) -> ModelSpec:
    """Return a model that can think where its name is among those given."""
    switched = spec.thinking is Thinking.NEVER and canonical(spec.name) in names
    return replace(spec, thinking=Thinking.SWITCHED) if switched else spec


def canonical(name: str) -> str:
    """Return a name as Ollama files it: lower case, a tag, without the default host and namespace."""
    return full_name(full_name(name).removeprefix(f"{REGISTRY}/"))


def details(spec: ModelSpec) -> dict[str, Any]:
    """Return the `details` object that `/api/show` and `/api/ps` have of a model."""
    return {
        "parent_model": "",
        "format": "gguf",
        "family": spec.family,
        "families": [spec.family],
        "parameter_size": human_number(spec.parameters),
        "quantization_level": "Q4_K_M",
    }


def tags_row(spec: ModelSpec, modified_at: str, capabilities: list[str]) -> dict[str, Any]:
    """Return a model's row in `/api/tags`."""
    return {
        "name": spec.name,
        "model": spec.name,
        "modified_at": modified_at,
        "size": spec.size,
        "digest": spec.digest,
        "details": {
            **details(spec),
            "context_length": spec.context,
            "embedding_length": spec.embedding,
        },
        "capabilities": capabilities,
    }


def show_body(spec: ModelSpec, modified_at: str, capabilities: list[str]) -> dict[str, Any]:
    """Return the answer of `/api/show`."""
    modelfile = (
        '# Modelfile generated by "ollama show"\n'
        "# To build a new Modelfile based on this, replace FROM with:\n"
        f"# FROM {spec.name}\n\nFROM {spec.blob_path}\nTEMPLATE {TEMPLATE}\n"
    )
    return {
        "modelfile": modelfile,
        "template": TEMPLATE,
        "details": details(spec),
        "model_info": model_info(spec),
        "capabilities": capabilities,
        "modified_at": modified_at,
    }


def model_info(spec: ModelSpec) -> Mapping[str, Any]:
    """Return the `model_info` of `/api/show`: the metadata of the model's file."""
    own = {
        "attention.head_count": spec.heads,
        "attention.head_count_kv": spec.kv_heads,
        "attention.layer_norm_rms_epsilon": 1e-05,
        "block_count": spec.layers,
        "context_length": spec.context,
        "embedding_length": spec.embedding,
        "feed_forward_length": spec.feed_forward,
        "rope.dimension_count": spec.head_size,
        "vocab_size": spec.vocabulary,
    }
    return {
        "general.architecture": spec.family,
        "general.file_type": 15,
        "general.parameter_count": spec.parameters,
        "general.quantization_version": 2,
        **{f"{spec.family}.{key}": value for key, value in own.items()},
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.scores": None,
        "tokenizer.ggml.token_type": None,
        "tokenizer.ggml.tokens": None,
        "tokenizer.ggml.unknown_token_id": 0,
    }
