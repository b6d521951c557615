"""The policy: pure functions that take a state and a fact and return the next state."""
