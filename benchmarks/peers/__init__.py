"""The engines that the local backtest is held against, one a module; each runs in a process of its own."""
