"""The compiled inner loops, one family a file.

A kernel works on one block of its matrices, which are dates x instruments, C-contiguous, float32 or float64. The block
of an operator over time is a range of columns. The block of an operator across instruments is a range of rows. A kernel
writes only to its block of `out` and never allocates more than a few rows. It releases the GIL and is compiled once per
storage type. Sums are float64 for either storage.
"""
