"""The pipeline from an expression's values to daily figures, as steps of the same graph (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass

from generator.backtest.plan.compiler import Compiler
from generator.backtest.settings import AlphaSettings, Neutralization, Truncation

SUB_UNIVERSE = 1 / 3
"""The most traded share of the instruments, which the sub-universe check uses (as TOP1000 of TOP3000)."""


@dataclass(frozen=True, slots=True)
class _Groups:
    """Groups to whose means positions are neutralized: the step of their codes and their count, 0 for none."""

    step: int
    count: int


def daily(
    compiler: Compiler,
    values: int,
    settings: AlphaSettings,
    neutralization: Neutralization,
    fields: Mapping[str, object],
) -> int:
    """Return the step of the daily figures (kernels.portfolio.judge), of the book and of its most traded part.

    BRAIN's order [official] begins with the expression on data up to day t - delay. The group's mean is subtracted, the
    sum of absolute values divides, and the decay follows. Clipping comes last unless `clip_at` differs [open]. Without
    a decay one step does all of them. The figures of the most traded part need close and volume.
    """
    groups = _groups(compiler, neutralization)
    decays = settings.decay > 1
    step = _in_universe(compiler, values, settings)
    if decays:
        step = _decayed(compiler, step, settings, groups)
    returns = compiler.graph.emit("field", params=("returns",))
    traded = _most_traded(compiler, fields)
    return compiler.emit(
        "judge",
        step,
        groups.step,
        returns,
        traded.step,
        params=(
            0 if decays else settings.delay,
            decays,
            groups.count,
            float(settings.truncation) if _clips(settings) else 0.0,
            settings.rescale_after_truncation,
            traded.count,
        ),
    )


def positions(
    compiler: Compiler, values: int, settings: AlphaSettings, neutralization: Neutralization
) -> int:
    """Return the step of the daily positions that `daily` computes and does not return."""
    groups = _groups(compiler, neutralization)
    step = _in_universe(compiler, values, settings)
    made = _decayed if settings.decay > 1 else _weighed
    step = made(compiler, step, settings, groups)
    if _clips(settings):
        step = compiler.emit(
            "truncate", step, params=(settings.truncation, settings.rescale_after_truncation)
        )
    return step


def _clips(settings: AlphaSettings) -> bool:
    """Return True if clipping is the last step."""
    before = settings.decay > 1 and settings.clip_at is Truncation.BEFORE_DECAY
    return settings.truncation > 0 and not before


def _groups(compiler: Compiler, neutralization: Neutralization) -> _Groups:
    if neutralization is Neutralization.NONE:
        return _Groups(compiler.grouping("market").step, 0)
    grouping = compiler.grouping(neutralization.value)
    return _Groups(grouping.step, grouping.count)


def _in_universe(compiler: Compiler, step: int, settings: AlphaSettings) -> int:
    return compiler.in_universe(step) if settings.pasteurization else step


def _weighed(compiler: Compiler, step: int, settings: AlphaSettings, groups: _Groups) -> int:
    """Return the step that turns values into positions."""
    if settings.delay:
        step = compiler.emit("ts_delay", step, params=(settings.delay,))
    return compiler.emit("weigh", step, groups.step, params=(groups.count,))


def _decayed(compiler: Compiler, step: int, settings: AlphaSettings, groups: _Groups) -> int:
    """Return the step that turns values into decayed positions."""
    step = _weighed(compiler, step, settings, groups)
    if settings.clip_at is Truncation.BEFORE_DECAY and settings.truncation:
        step = compiler.emit(
            "truncate", step, params=(settings.truncation, settings.rescale_after_truncation)
        )
    step = compiler.emit("ts_decay_linear", step, params=(settings.decay, False))
    step = _in_universe(compiler, step, settings)
    return compiler.emit("truncate", step, params=(0.0, settings.rescale_after_decay))


def _most_traded(compiler: Compiler, fields: Mapping[str, object]) -> _Groups:
    """Return the groups of the most traded instruments, none without close or volume.

    They are ranked by the mean traded value of the 20 days before.
    """
    market = compiler.grouping("market")
    if not {"close", "volume"} <= fields.keys():
        return _Groups(market.step, 0)
    close = compiler.graph.emit("field", params=("close",))
    volume = compiler.graph.emit("field", params=("volume",))
    traded = compiler.emit("ts_mean", compiler.emit("multiply", close, volume), params=(20,))
    size = compiler.emit("rank", compiler.emit("ts_delay", traded, params=(1,)), params=(1.0,))
    step = compiler.emit("most_traded", size, market.step, params=(SUB_UNIVERSE,))
    return _Groups(step, market.count)
