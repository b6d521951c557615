"""Where log lines come from: a module for each kind of source behind one protocol."""
