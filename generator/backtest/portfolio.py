"""The pipeline from an expression's values to each day's figures, as steps of the same graph. Pure."""

from collections.abc import Mapping

from generator.backtest.compiler import Compiler
from generator.backtest.settings import Neutralization, Settings, Truncation

SUB_UNIVERSE = 1 / 3
"""The share of the instruments, by mean traded value, that the sub-universe check looks at (as TOP1000 of TOP3000)."""


def positions(compiler: Compiler, values: int, settings: Settings, neutralization: Neutralization) -> int:
    """Return the step that gives the positions of each day, as shares of the book.

    BRAIN's order: data to the day t - delay, the expression, minus the group's mean, divided by the sum of sizes, then the
    decay over those positions [official]. Clipping comes after the decay unless the settings say otherwise [open].
    """
    step = values
    if settings.pasteurization and compiler.has_universe:
        step = compiler.emit("mask_outside", step, compiler.universe())
    if settings.delay:
        step = compiler.emit("ts_delay", step, params=(settings.delay,))
    step = _weigh(compiler, step, neutralization)
    if settings.clip_at is Truncation.BEFORE_DECAY and settings.truncation:
        step = compiler.emit(
            "truncate", step, params=(settings.truncation, settings.rescale_after_truncation)
        )
    if settings.decay > 1:
        step = compiler.emit("ts_decay_linear", step, params=(settings.decay, False))
        if settings.pasteurization and compiler.has_universe:
            step = compiler.emit("mask_outside", step, compiler.universe())
        step = compiler.emit("truncate", step, params=(0.0, settings.rescale_after_decay))
    if settings.clip_at is Truncation.AFTER_DECAY and settings.truncation:
        step = compiler.emit(
            "truncate", step, params=(settings.truncation, settings.rescale_after_truncation)
        )
    return step


def _weigh(compiler: Compiler, step: int, neutralization: Neutralization) -> int:
    if neutralization is Neutralization.NONE:
        return compiler.emit("weigh", step, compiler.grouping("market").step, params=(0,))
    grouping = compiler.grouping(neutralization.value)
    return compiler.emit("weigh", step, grouping.step, params=(grouping.count,))


def daily(compiler: Compiler, weights: int) -> int:
    """Return the step that gives each day's figures (kernels.portfolio) for the positions."""
    return compiler.emit("daily", weights, compiler.graph.emit("field", params=("returns",)))


def sub_universe(compiler: Compiler, weights: int, fields: Mapping[str, object]) -> int | None:
    """Return the daily figures of the positions within the most traded instruments, neutralized to the market.

    None where the panel has no volume and close to tell which those are.
    """
    if not {"close", "volume"} <= fields.keys():
        return None
    close = compiler.graph.emit("field", params=("close",))
    volume = compiler.graph.emit("field", params=("volume",))
    traded = compiler.emit("ts_mean", compiler.emit("multiply", close, volume), params=(20,))
    size = compiler.emit("rank", compiler.emit("ts_delay", traded, params=(1,)), params=(1.0,))
    kept = compiler.emit("liquid", weights, size, params=(SUB_UNIVERSE,))
    return daily(compiler, _weigh(compiler, kept, Neutralization.MARKET))
