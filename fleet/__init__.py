"""The shared core: policy, configuration, clients of other programs, start and runtime.

It imports none of the other packages.
"""
