"""The page's address and token: the parts of `[web] listen`, and the addresses that need a token before the start."""

import os
import secrets
import shlex

from fleet.config.network import is_loopback
from fleet.config.schema import WebSettings
from fleet.runtime.errors import ConfigError
from fleet.runtime.home import Home

_SHORTEST = 16
_LONGEST = 4096


def split_address(listen: str) -> tuple[str, int]:
    """Return host and port of a valid `[web] listen`."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def require_safe_address(web: WebSettings, home: Home) -> None:
    """Raise ConfigError for an address that other machines reach while the home has no token."""
    if not web.listen:
        return
    host, _ = split_address(web.listen)
    if is_loopback(host) or read_token(home):
        return
    folder, token = (shlex.quote(str(path)) for path in (home.run, home.web_token))
    raise ConfigError(
        f"web.listen: other machines reach {web.listen}, and the page has no token yet",
        hint=f"Write a secret of at least {_SHORTEST} characters into {home.web_token} with mode 0600: "
        f"`install -d -m 700 {folder}; umask 077; openssl rand -hex 32 > {token}`. Or listen on 127.0.0.1.",
    )


def read_token(home: Home) -> str:
    """Return the token, empty without one; raise ConfigError for a token that is short or that others may read."""
    path = home.web_token
    try:
        with path.open("rb") as stream:
            mode, raw = os.fstat(stream.fileno()).st_mode, stream.read(_LONGEST)
        token = raw.decode("ascii").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be used: {error}", hint="Write one line of ASCII text.") from error
    if mode & 0o077:
        raise ConfigError(f"other users may use {path}", hint=f"chmod 600 {path}")
    if len(token) < _SHORTEST or not token.isprintable():
        raise ConfigError(
            f"the token in {path} is too short", hint=f"Write at least {_SHORTEST} printable characters."
        )
    return token


def make_token(home: Home) -> str:
    """Return the token; write a new one if there is none. Raise ConfigError or OSError."""
    token = read_token(home)
    if token:
        return token
    token = secrets.token_urlsafe(32)
    descriptor = os.open(home.web_token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(token + "\n")
    return token
