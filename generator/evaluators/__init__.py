"""Evaluators behind `domain.Evaluator`: the local backtest, BRAIN, and a screen of both."""
