"""The client of WorldQuant BRAIN: what it is told and what it answers, its session, and simulations in flight.

Nothing here submits an alpha: no such request exists in this package.
"""
