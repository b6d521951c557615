"""Grouping of signals into incidents: one failure, however many lines report it.

    state, outcomes = advance(state, observation, rules, detector)
    when = next_deadline(state, rules)      # the time at which a TimePassed is due

Pure. The state goes to JSON and back by `state.codec`; an unreadable one costs at worst the open failures.
"""

from monitor.incidents.grouper import advance, next_deadline
from monitor.incidents.messages import GroupingRules
from monitor.incidents.state import GroupState

__all__ = ["GroupState", "GroupingRules", "advance", "next_deadline"]
