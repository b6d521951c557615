"""The shared core: values, policy, configuration and the clients of other programs.

Nothing here imports the fleet's other packages.
"""
