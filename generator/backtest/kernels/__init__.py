"""The compiled inner loops, one family a file.

A kernel works on one block of its matrices (dates x instruments, C-contiguous, float32 or float64): a range of
columns for what looks back in time, a range of rows for what looks across instruments. It writes only to its block
of `out`, never allocates more than a few rows of scratch, releases the GIL, and is compiled once per storage type.
Sums are kept in float64 whatever the storage.
"""
