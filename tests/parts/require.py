"""Parts that a machine may lack: a test that needs one skips, or fails where it was promised."""

import os
from typing import NoReturn

import pytest


def required() -> frozenset[str]:
    """Return the parts that FLEET_REQUIRE promises, such as `docker,postgresql`."""
    return frozenset(filter(None, (name.strip() for name in os.environ.get("FLEET_REQUIRE", "").split(","))))


def require(part: str, reason: str) -> NoReturn:
    """Give up on a test because `part` cannot be had: fail if it was promised, otherwise skip."""
    if part in required():
        pytest.fail(f"FLEET_REQUIRE names {part}, and it cannot be had: {reason}", pytrace=False)
    pytest.skip(f"needs {part}: {reason}")
