"""Runtime helpers of every program: home, process, clock, logging, files, units and errors."""
