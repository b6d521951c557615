"""The type of a click option that is a number; the other command line uses it too."""

import math
from typing import Any

import click


class FiniteRange(click.FloatRange):
    """click's own range, without NaN, which is neither below a bound nor above one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, within the bounds; report NaN and infinities as a wrong value."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no finite number", param, ctx)
        return number
