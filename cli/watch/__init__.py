"""`watch`: the live view in a terminal, and the plain one for a pipe."""
