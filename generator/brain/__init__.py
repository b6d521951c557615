"""Client of WorldQuant BRAIN: requests, answers, session, and simulations in flight.

Nothing here submits an alpha: this package has no such request.
"""
