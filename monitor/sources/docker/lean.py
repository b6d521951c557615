"""Loading requests without the library that guesses encodings, which a log source never asks."""

import importlib
import sys
import warnings

_GUESSERS = ("chardet", "charset_normalizer")


def import_requests() -> None:
    """Import requests, if it is not there yet, as if no guesser were installed.

    It goes without one (text is UTF-8 then) and the process without their 5 to 10 MB of tables. Whoever imports
    a guesser later gets it.
    """
    if "requests" in sys.modules:
        return
    hidden = [name for name in _GUESSERS if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None there is Python's own "not found"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # requests warns of its absence
            importlib.import_module("requests")
    finally:
        for name in hidden:
            del sys.modules[name]
