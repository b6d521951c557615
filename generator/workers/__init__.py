"""The threads of mining after a call: candidates in, evaluations, the opposite sign."""
