"""Plans without a running fleet: a ladder for a card, and two policies over one log."""
