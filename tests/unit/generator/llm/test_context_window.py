import pytest

from generator.llm.context_window import TEMPLATE_TOKENS, Window, estimate


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("rank", 2),
        ("ts_decay_linear", 1 + 1 + 2 + 1 + 2),
        ("close, 20", 2 + 1 + 2),
        ("a b\nc", 4),
        ("é", 2),
        ("\ud800", 3),
        ("   ", 0),
    ],
)
def test_an_estimate_counts_syllables_digits_marks_and_bytes(text: str, tokens: int) -> None:
    assert estimate(text) == tokens


def test_the_prompts_budget_is_the_window_without_the_reply() -> None:
    assert Window(2048).prompt_budget(448) == 2048 - 448 - TEMPLATE_TOKENS
    assert Window(100).prompt_budget(448) == 0


def test_a_count_by_the_server_never_lowers_the_correction() -> None:
    window = Window(2048).corrected(1000, 1000 + TEMPLATE_TOKENS + 500)
    assert window.correction == pytest.approx(1.5)
    assert window.corrected(1000, 200) == window
    assert window.corrected(1000, None) == window
    assert window.corrected(0, 50) == window
    assert window.prompt_budget(448) == int((2048 - 448 - TEMPLATE_TOKENS) / 1.5)
