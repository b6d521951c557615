"""Reasons for which dask workers are not used, in words."""

import concurrent.futures

import pytest

from fleet.runtime.errors import GeneratorError
from generator.evaluators.cluster import cause_in_words


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError(), "no answer in time"),
        (TimeoutError("Timed out after 10 s"), "Timed out after 10 s"),
        (OSError("Timed out during handshake"), "Timed out during handshake"),
        (concurrent.futures.CancelledError(), "the connection ended"),
        (GeneratorError("dask is not installed", hint="Install it."), "dask is not installed"),
        (ValueError("a\nb"), "a b"),
        (KeyError(), "KeyError"),
    ],
)
def test_a_reason_is_said_in_words(error: BaseException, expected: str) -> None:
    assert cause_in_words(error) == expected
