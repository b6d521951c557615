"""The waits of `refresh`, and its last words."""

import pytest

from fleet.runtime.errors import GeneratorError
from generator.brain.errors import BrainAccessError, BrainAwayError, BrainError, BrainLimitError, PersonaError
from generator.catalogue import Catalogue, load_catalogue
from generator.cli.refresh import fetch
from tests.reference.manual_clock import StillClock


class Failing:
    """A listing that fails some times with one error, and then gives the catalogue."""

    def __init__(self, error: BrainError, times: int) -> None:
        self.error = error
        self.left = times

    def step(self) -> Catalogue:
        self.left -= 1
        if self.left >= 0:
            raise self.error
        return load_catalogue()


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (BrainAwayError("away"), "again later"),
        (BrainLimitError("too many"), "again later"),
        (PersonaError("https://x/"), "again afterwards"),
        (BrainAccessError("refused", hint="Correct them."), "Correct them."),
    ],
)
def test_a_command_that_gives_up_promises_no_try_of_its_own(error: BrainError, hint: str) -> None:
    with pytest.raises(GeneratorError) as caught:
        fetch(Failing(error, 10_000), StillClock())  # type: ignore[arg-type]  # a listing by its shape
    assert caught.value.message == error.message
    assert hint in caught.value.hint
    assert "itself" not in caught.value.hint
    assert "automatically" not in caught.value.hint


def test_four_failures_in_a_row_are_waited_out() -> None:
    made = fetch(Failing(BrainAwayError("away"), 4), StillClock())  # type: ignore[arg-type]  # as above
    assert made.operators
