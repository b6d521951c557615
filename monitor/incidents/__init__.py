"""Grouping signals into incidents: one failure, however many lines tell of it.

    state, outcomes = advance(state, observation, rules, detector)
    when = next_deadline(state, rules)      # the time at which a Tick is due

Pure, and the state goes to JSON and back: `state.to_json()`, `GroupState.from_json(data)`.
"""

from monitor.incidents.grouper import advance, next_deadline
from monitor.incidents.messages import GroupingRules
from monitor.incidents.state import GroupState

__all__ = ["GroupState", "GroupingRules", "advance", "next_deadline"]
