"""Answers in a model's place: grammars, and random replies that fit them."""
