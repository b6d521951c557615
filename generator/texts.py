"""Text from outside, made fit to be stored and logged."""


def storable(text: str) -> str:
    """Return the text without what UTF-8 or PostgreSQL cannot hold: lone surrogates and NUL.

    JSON can carry both, so that a model's reply can, and an error that quotes it.
    """
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
