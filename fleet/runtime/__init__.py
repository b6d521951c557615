"""Helpers of every program at run time: home, process, clock, logging, files, units and errors."""
