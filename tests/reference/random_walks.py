"""A market of random walks: a panel file on which every good figure is luck."""

import math
from pathlib import Path
from random import Random


def panel(folder: Path, days: int = 300, stocks: int = 24) -> Path:
    """Write a market of random walks."""
    chance = Random(7)
    prices = [20.0 + 3 * number for number in range(stocks)]
    rows = ["date,symbol,open,high,low,close,volume,sector,industry,mine_alone"]
    for day in range(days):
        date = f"{2020 + day // 252}-{1 + day % 252 // 21:02d}-{1 + day % 21:02d}"
        for number in range(stocks):
            before = prices[number]
            prices[number] *= math.exp(chance.gauss(0.0, 0.02))
            low, high = sorted((before, prices[number]))
            figures = (before, high * 1.01, low * 0.99, prices[number], 1e5 * (1 + chance.random()))
            cells = ",".join(f"{figure:.4f}" for figure in figures)
            rows.append(f"{date},S{number:02d},{cells},s{number % 3},i{number % 6},{chance.random():.3f}")
    path = folder / "panel.csv"
    path.write_text("\n".join(rows) + "\n")
    return path
