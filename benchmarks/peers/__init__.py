"""The engines that the local backtest is compared with, one a module; each runs in its own process."""
