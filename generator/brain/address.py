"""Where BRAIN is. Tests may name another server, in the environment alone."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from fleet.runtime.errors import ConfigError

URL_VARIABLE = "FLEET_BRAIN_URL"
DEFAULT_URL = "https://api.worldquantbrain.com"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def brain_url(environ: Mapping[str, str]) -> str:
    """Return BRAIN's address, or the one that tests set; raise ConfigError for one that would leak a password."""
    url = environ.get(URL_VARIABLE) or DEFAULT_URL
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname and not parts.username:
        return url.rstrip("/")
    if parts.scheme == "http" and parts.hostname in _LOOPBACK and not parts.username:
        return url.rstrip("/")
    raise ConfigError(
        f"{URL_VARIABLE} is no https:// address, nor http:// on this machine",
        hint="It is for tests; leave it out.",
    )
