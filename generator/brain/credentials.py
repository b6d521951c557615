"""Credentials of the BRAIN account and the address that gets them.

They are in `credential.txt`, a JSON pair of e-mail and password, or in two variables.

A password never appears in a repr, an error or a log.
"""

import json
import logging
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from fleet.runtime.errors import ConfigError
from fleet.runtime.home import ROOT, expanded, is_there
from fleet.runtime.logging import with_sentence
from generator.brain.errors import BrainAccessError

URL_VARIABLE = "FLEET_BRAIN_URL"
DEFAULT_URL = "https://api.worldquantbrain.com"
EMAIL, PASSWORD = "FLEET_BRAIN_EMAIL", "FLEET_BRAIN_PASSWORD"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_OWNER_ONLY = 0o600
_FORM = 'Write ["you@example.com", "your password"] into it, and chmod 600 it.'
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Credentials:
    """An account. `version` changes whenever the source of the credentials changes."""

    email: str = field(repr=False)
    password: str = field(repr=False)
    version: str


@dataclass(frozen=True, slots=True)
class CredentialSource:
    """Sources of credentials: the environment, then the first existing file."""

    environ: Mapping[str, str] = field(repr=False)
    files: tuple[Path, ...]

    @property
    def present(self) -> bool:
        """Return True if any source has credentials, valid or not."""
        return self.given or self.file is not None

    @property
    def given(self) -> bool:
        """Return True if the environment has credentials."""
        return bool(self.environ.get(EMAIL) and self.environ.get(PASSWORD))

    @property
    def file(self) -> Path | None:
        """Return the first file that exists, also one that cannot be read."""
        return next((path for path in self.files if is_there(path)), None)

    def read(self) -> Credentials:
        """Return the account; raise BrainAccessError, which quotes nothing of the source."""
        if self.given:
            return Credentials(self.environ[EMAIL], self.environ[PASSWORD], "environment")
        path = self.file
        if path is None:
            raise BrainAccessError(
                f"there are no BRAIN credentials in {' or '.join(map(str, self.files))}",
                hint=f"{_FORM} Or set {EMAIL} and {PASSWORD}.",
            )
        account, warning = read_file(path)
        if warning:
            _log.warning("brain.credentials_open", extra=with_sentence(warning, path=path))
        return account


def read_file(path: Path) -> tuple[Credentials, str]:
    """Return the account in a file, and a warning about the file's mode, if any; raise BrainAccessError."""
    try:
        status, text = path.stat(), path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise BrainAccessError(f"{path} cannot be read: {reason}", hint=_FORM) from None
    email, password = parse_pair(text, path)
    version = f"{path}:{status.st_mtime_ns}:{status.st_size}:{status.st_ino}"
    return Credentials(email, password, version), _mode_warning(path, stat.S_IMODE(status.st_mode))


def parse_pair(text: str, path: Path) -> tuple[str, str]:
    """Return e-mail and password of a JSON pair; raise BrainAccessError that quotes nothing of the text."""
    try:
        pair = json.loads(text)
    except (ValueError, RecursionError):
        pair = None
    if (
        not isinstance(pair, list)
        or len(pair) != 2  # noqa: PLR2004  # a pair
        or not all(isinstance(part, str) and part for part in pair)
    ):
        raise BrainAccessError(f"{path} is no JSON pair of e-mail and password", hint=_FORM)
    return pair[0], pair[1]


def _mode_warning(path: Path, mode: int) -> str:
    if mode == _OWNER_ONLY:
        return ""
    return f"{path} has mode {mode:04o}; others can read the password: chmod 600 it"


def credential_source(
    named: str, config: Path | None, home: Path, environ: Mapping[str, str]
) -> CredentialSource:
    """Return the sources for `[brain] credentials`: beside the configuration file, then in the home."""
    path = expanded(named)
    beside = ROOT if config is None else config.absolute().parent
    files = [path] if path.is_absolute() else [beside / path, home / path]
    ours = {name: environ[name] for name in (EMAIL, PASSWORD) if name in environ}
    return CredentialSource(ours, tuple(dict.fromkeys(files)))


def brain_url(environ: Mapping[str, str]) -> str:
    """Return BRAIN's address, or the one set for tests; raise ConfigError for one that would leak a password."""
    url = environ.get(URL_VARIABLE) or DEFAULT_URL
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname and not parts.username:
        return url.rstrip("/")
    if parts.scheme == "http" and parts.hostname in _LOOPBACK and not parts.username:
        return url.rstrip("/")
    raise ConfigError(
        f"{URL_VARIABLE} is neither an https:// address nor http:// on this machine",
        hint="The variable is for tests; unset it.",
    )
