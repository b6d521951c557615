import pytest

from cli.operator import find_rung
from fleet.config.ladder import Ladder, Rung
from fleet.runtime.errors import ConfigError

LADDER = Ladder(
    [
        Rung(0, "llama3.2:3b"),
        Rung(1, "llama3.2:3b", options={"num_ctx": 2048}),
        Rung(2, "phi3:mini", options={"num_ctx": 4096}),
        Rung(3, "phi3:mini", options={"num_ctx": 1024}),
        Rung(4, "TinyLlama:1.1b"),
        Rung(5, "qwen2.5:0.5b"),
        Rung(6, "qwen2.5:latest"),
    ]
)


@pytest.mark.parametrize(
    ("target", "index"),
    [
        ("0", 0),
        ("6", 6),
        ("llama3.2:3b", 0),
        ("llama3.2:3b (num_ctx=2048)", 1),
        ("tinyllama:1.1b", 4),
        ("tinyllama", 4),
        ("qwen2.5:0.5b", 5),
        ("qwen2.5", 6),
    ],
)
def test_a_rung_is_meant(target: str, index: int) -> None:
    assert find_rung(LADDER, target) == index


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("7", "there is no rung 7"),
        ("²", "not on the ladder"),
        ("", "not on the ladder"),
        ("mistral", "not on the ladder"),
        ("phi3:mini", "may mean several"),
        ("phi3", "may mean several"),
        ("llama3.2", "may mean several"),
    ],
)
def test_no_rung_is_meant_or_several(target: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        find_rung(LADDER, target)
