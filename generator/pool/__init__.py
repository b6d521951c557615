"""The pool that mining learns from: its members, the decision to admit an alpha, and an alpha's luck."""
