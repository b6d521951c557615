"""The account: `credential.txt`, a JSON pair of e-mail address and password, or two environment variables.

A password is never shown: not in a repr, not in an error, not in a log.
"""

import json
import logging
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleet.runtime.home import ROOT
from fleet.runtime.logging import tell
from generator.brain.errors import BrainAccessError

EMAIL, PASSWORD = "FLEET_BRAIN_EMAIL", "FLEET_BRAIN_PASSWORD"
_OWNERS_ALONE = 0o600
_FORM = 'Write ["you@example.com", "your password"] into it, and chmod 600 it.'
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Credentials:
    """An account, and where it was found: `version` changes with what was found there."""

    email: str = field(repr=False)
    password: str = field(repr=False)
    version: str


@dataclass(frozen=True, slots=True)
class CredentialSource:
    """Where credentials are looked for: the environment first, then these files, the first that is there."""

    environ: Mapping[str, str] = field(repr=False)
    files: tuple[Path, ...]

    @property
    def present(self) -> bool:
        """Tell whether there are any, right or wrong."""
        return self.given or self.file is not None

    @property
    def given(self) -> bool:
        """Tell whether the environment has them."""
        return bool(self.environ.get(EMAIL) and self.environ.get(PASSWORD))

    @property
    def file(self) -> Path | None:
        """Return the first of the files that is there."""
        return next((path for path in self.files if path.exists()), None)

    def read(self) -> Credentials:
        """Return the account; raise BrainAccessError, which never shows what was read."""
        if self.given:
            return Credentials(self.environ[EMAIL], self.environ[PASSWORD], "environment")
        path = self.file
        if path is None:
            raise BrainAccessError(
                f"there are no BRAIN credentials in {' or '.join(map(str, self.files))}",
                hint=f"{_FORM} Or set {EMAIL} and {PASSWORD}.",
            )
        account, remark = read_file(path)
        if remark:
            _log.warning("brain.credentials_open", extra=tell(remark, path=path))
        return account


def read_file(path: Path) -> tuple[Credentials, str]:
    """Return the account in a file, and what is to be said of the file's mode; raise BrainAccessError."""
    try:
        status, text = path.stat(), path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise BrainAccessError(f"{path} cannot be read: {reason}", hint=_FORM) from None
    email, password = parse_pair(text, path)
    version = f"{path}:{status.st_mtime_ns}:{status.st_size}:{status.st_ino}"
    return Credentials(email, password, version), _remark(path, stat.S_IMODE(status.st_mode))


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


def _remark(path: Path, mode: int) -> str:
    if mode == _OWNERS_ALONE:
        return ""
    return f"{path} has mode {mode:04o}; a password belongs to you alone: chmod 600 it"


def credential_source(
    named: str, config: Path | None, home: Path, environ: Mapping[str, str]
) -> CredentialSource:
    """Return where to look for `[brain] credentials`: beside the configuration file, then in the home."""
    path = Path(named).expanduser()
    beside = ROOT if config is None else config.absolute().parent
    files = [path] if path.is_absolute() else [beside / path, home / path]
    ours = {name: environ[name] for name in (EMAIL, PASSWORD) if name in environ}
    return CredentialSource(ours, tuple(dict.fromkeys(files)))
