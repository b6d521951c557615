"""The twenty expressions: ten in the manner of the 101 formulaic alphas, ten as miners write them."""

from collections.abc import Mapping
from typing import Any

from generator.catalogue import load_catalogue
from generator.language import Call, Field, Node, Number, Text, parse

EXPRESSIONS = {
    "corr of ranks": "-ts_corr(rank(ts_delta(log(volume), 2)), rank((close - open) / open), 6)",
    "corr of prices": "-ts_corr(rank(open), rank(volume), 10)",
    "ts_rank of rank": "-ts_rank(rank(low), 9)",
    "corr": "-ts_corr(open, volume, 10)",
    "signs": "sign(ts_delta(volume, 1)) * -ts_delta(close, 1)",
    "covariance": "-rank(ts_covariance(rank(close), rank(volume), 5))",
    "covariance of highs": "-rank(ts_covariance(rank(high), rank(volume), 5))",
    "corr with rank": "-ts_corr(high, rank(volume), 5)",
    "stochastic": "-ts_corr(rank((close - ts_min(low, 12)) / (ts_max(high, 12) - ts_min(low, 12))), rank(volume), 6)",
    "candle": "(close - open) / (high - low + 0.001)",
    "reversal": "rank(ts_delta(close, 5))",
    "z-score": "-ts_zscore(close, 20)",
    "neutral momentum": "group_neutralize(rank(ts_delta(close, 10) / ts_std_dev(returns, 20)), industry)",
    "decayed volume": "ts_decay_linear(group_rank(ts_mean(volume, 5) / adv20, sector), 10)",
    "two ts_ranks": "ts_rank(volume / adv20, 20) * -ts_rank(ts_delta(close, 7), 20)",
    "places": "scale(winsorize(ts_arg_max(high, 10) - ts_arg_min(low, 10), std=3))",
    "ternary": "close > ts_mean(close, 20) ? -rank(returns) : rank(ts_std_dev(returns, 10))",
    "power": "signed_power(ts_delta(vwap, 3), 2) * rank(volume)",
    "group z-score": "group_zscore(ts_mean(returns, 60) / ts_std_dev(returns, 60), subindustry)",
    "deviation": "rank(close / vwap) - rank(ts_av_diff(volume, 20))",
}
FIELDS = ("open", "high", "low", "close", "volume", "vwap", "returns", "adv20")
GROUPS = ("sector", "industry", "subindustry")


def trees() -> list[Node]:
    """Return the expressions as trees."""
    return parsed(EXPRESSIONS)


def parsed(texts: Mapping[str, str]) -> list[Node]:
    """Return named expressions as trees."""
    catalogue = load_catalogue(higher=True)
    return [parse(text, catalogue) for text in texts.values()]


def nested(tree: Node) -> Any:
    """Return a tree as nested arrays for the peers; named arguments become positional."""
    match tree:
        case Field(name=name):
            return name
        case Number(value=value):
            return int(value) if value == int(value) else value
        case Text(value=text):
            return text
        case Call(name=name, args=args, named=named):
            return [name, *map(nested, args), *(nested(value) for _, value in named)]
    raise TypeError(tree)
