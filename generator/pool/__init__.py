"""The pool that mining learns from: its members, the decision to admit an alpha, and how much of an alpha is luck."""
