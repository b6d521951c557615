"""The policy: pure functions from a state and a fact to the next state."""
