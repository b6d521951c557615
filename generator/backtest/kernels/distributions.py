"""Distribution functions and their inverses: gaussian, uniform and cauchy."""

import math

from generator.backtest.kernels.jit import kernel

GAUSSIAN, UNIFORM, CAUCHY = range(3)
_GAUSSIAN = GAUSSIAN
_UNIFORM = UNIFORM
_ROOT_2 = math.sqrt(2.0)
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)


@kernel
def _first_guess(p: float) -> float:
    """Approximate the gaussian quantile of p in (0, 0.5] to 4.5e-4 (Abramowitz and Stegun 26.2.23)."""
    t = math.sqrt(-2.0 * math.log(p))
    top = 2.515517 + t * (0.802853 + t * 0.010328)
    bottom = 1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308))
    return top / bottom - t


@kernel
def gaussian_quantile(p: float) -> float:
    """Return the standard normal quantile of p, to the last digits: Halley's steps on erfc from a rough guess."""
    if not 0.0 < p < 1.0:
        return -math.inf if p == 0.0 else (math.inf if p == 1.0 else math.nan)
    if p == 0.5:  # noqa: PLR2004 - the middle is exact
        return 0.0
    tail = min(p, 1.0 - p)
    z = _first_guess(tail)
    for _ in range(2):  # the first leaves 7e-9, the second only rounding
        error = 0.5 * math.erfc(-z / _ROOT_2) - tail
        step = error / (_DENSITY * math.exp(-0.5 * z * z))
        z -= step / (1.0 + 0.5 * z * step)
    return z if tail == p else -z


@kernel
def inverse_cdf(driver: int, p: float) -> float:
    """Return the quantile of p under the driver."""
    if driver == _GAUSSIAN:
        return gaussian_quantile(p)
    if driver == _UNIFORM:
        return p
    if p == 0.5:  # noqa: PLR2004 - the middle is exact
        return 0.0
    return math.tan(math.pi * (p - 0.5))


@kernel
def cdf(driver: int, z: float) -> float:
    """Return the probability of a value up to z under the driver; the uniform one spans 0 to 1."""
    if driver == _GAUSSIAN:
        return 0.5 * math.erfc(-z / _ROOT_2)
    if driver == _UNIFORM:
        return min(max(z, 0.0), 1.0) if z == z else z  # noqa: PLR0124
    return 0.5 + math.atan(z) / math.pi
