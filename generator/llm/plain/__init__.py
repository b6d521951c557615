"""Replies in plain text: formatting, the lines' possible expressions, and how each stands in its line."""
