"""The pipeline from an expression's values to each day's figures, as steps of the same graph. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from generator.backtest.plan.compiler import Compiler
from generator.backtest.settings import AlphaSettings, Neutralization, Truncation

SUB_UNIVERSE = 1 / 3
"""The share of the instruments, by mean traded value, that the sub-universe check looks at (as TOP1000 of TOP3000)."""


@dataclass(frozen=True, slots=True)
class _Groups:
    """What is neutralized by: a step of group codes and their number, 0 for nothing."""

    step: int
    count: int


def daily(
    compiler: Compiler,
    values: int,
    settings: AlphaSettings,
    neutralization: Neutralization,
    fields: Mapping[str, object],
) -> int:
    """Return the step that gives each day's figures (kernels.portfolio.judge), of the book and of its most traded part.

    BRAIN's order: data to the day t - delay, the expression, minus the group's mean, divided by the sum of sizes, then the
    decay over those positions [official]. Clipping comes after the decay unless the settings say otherwise [open].
    Without a decay all of it is one step. The part has figures where the panel has volume and close to tell it by.
    """
    groups = _groups(compiler, neutralization)
    decays = settings.decay > 1
    step = _inside(compiler, values, settings)
    if decays:
        step = _decayed(compiler, step, settings, groups)
    market = compiler.grouping("market")
    returns = compiler.graph.emit("field", params=("returns",))
    size = traded_rank(compiler, fields)
    return compiler.emit(
        "judge",
        step,
        groups.step,
        returns,
        returns if size is None else size,
        market.step,
        params=(
            0 if decays else settings.delay,
            decays,
            groups.count,
            float(settings.truncation) if _clips(settings) else 0.0,
            settings.rescale_after_truncation,
            0.0 if size is None else SUB_UNIVERSE,
            market.count,
        ),
    )


def positions(
    compiler: Compiler, values: int, settings: AlphaSettings, neutralization: Neutralization
) -> int:
    """Return the step that gives each day's positions, as `daily` has them but does not keep."""
    groups = _groups(compiler, neutralization)
    step = _inside(compiler, values, settings)
    made = _decayed if settings.decay > 1 else _weighed
    step = made(compiler, step, settings, groups)
    if _clips(settings):
        step = compiler.emit(
            "truncate", step, params=(settings.truncation, settings.rescale_after_truncation)
        )
    return step


def _clips(settings: AlphaSettings) -> bool:
    """Return True if positions are clipped last of all."""
    before = settings.decay > 1 and settings.clip_at is Truncation.BEFORE_DECAY
    return settings.truncation > 0 and not before


def _groups(compiler: Compiler, neutralization: Neutralization) -> _Groups:
    if neutralization is Neutralization.NONE:
        return _Groups(compiler.grouping("market").step, 0)
    grouping = compiler.grouping(neutralization.value)
    return _Groups(grouping.step, grouping.count)


def _inside(compiler: Compiler, step: int, settings: AlphaSettings) -> int:
    return compiler.inside(step) if settings.pasteurization else step


def _weighed(compiler: Compiler, step: int, settings: AlphaSettings, groups: _Groups) -> int:
    """Return the step that gives positions from values."""
    if settings.delay:
        step = compiler.emit("ts_delay", step, params=(settings.delay,))
    return compiler.emit("weigh", step, groups.step, params=(groups.count,))


def _decayed(compiler: Compiler, step: int, settings: AlphaSettings, groups: _Groups) -> int:
    """Return the step that gives positions from values, decayed."""
    step = _weighed(compiler, step, settings, groups)
    if settings.clip_at is Truncation.BEFORE_DECAY and settings.truncation:
        step = compiler.emit(
            "truncate", step, params=(settings.truncation, settings.rescale_after_truncation)
        )
    step = compiler.emit("ts_decay_linear", step, params=(settings.decay, False))
    step = _inside(compiler, step, settings)
    return compiler.emit("truncate", step, params=(0.0, settings.rescale_after_decay))


def traded_rank(compiler: Compiler, fields: Mapping[str, object]) -> int | None:
    """Return the rank by the mean traded value of the 20 days before; None where the panel cannot tell it."""
    if not {"close", "volume"} <= fields.keys():
        return None
    close = compiler.graph.emit("field", params=("close",))
    volume = compiler.graph.emit("field", params=("volume",))
    traded = compiler.emit("ts_mean", compiler.emit("multiply", close, volume), params=(20,))
    return compiler.emit("rank", compiler.emit("ts_delay", traded, params=(1,)), params=(1.0,))
