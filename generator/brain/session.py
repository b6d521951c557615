"""Being signed in: at the start by what was kept, anew where BRAIN says 401, and never more often than it takes.

`run/brain.json` (mode 0600) keeps the session's cookie, so that a restart of the generator asks nobody for a
finger again; the address of a biometric sign-in that somebody has yet to open; and that credentials were
refused, so that the same ones are never sent a second time. It holds neither e-mail address nor password.
"""

import hashlib
import json
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from fleet.runtime.atomic_write import replace_text
from fleet.runtime.clock import Clock
from fleet.runtime.home import read_json
from fleet.runtime.logging import fields
from fleet.runtime.units import Seconds
from generator.brain.credentials import Credentials
from generator.brain.errors import (
    BrainAccessError,
    BrainAwayError,
    BrainError,
    BrainGoneError,
    BrainLimitError,
    BrainRefusedError,
    PersonaError,
)
from generator.brain.http import BrainHttp
from generator.brain.responses import BrainAnswer, error_of, finite_number, messages

AUTHENTICATION = "/authentication"
_CREATED, _OK, _UNAUTHORIZED = 201, 200, 401
# Credentials from the environment have no version of their own: a person may have put them right with BRAIN.
_ENVIRONMENT_AGAIN: Seconds = 3600.0
# Another attempt while an account is locked may keep it locked.
_ATTEMPTS_AGAIN: Seconds = 900.0
_LONGEST_WAIT: Seconds = 3600.0
_ATTEMPTS = "BRAIN says that there were too many attempts to sign in"
_REFUSED = "BRAIN refuses the credentials"
_CORRECT = "Correct them, and mining goes on by itself; too many attempts would lock the account."

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredSession:
    """What is kept between two runs, of one account; `account` is a salted hash of its e-mail address."""

    salt: str = ""
    account: str = ""
    cookies: Mapping[str, str] = field(default_factory=dict, repr=False)
    persona: str = ""
    refused: str = ""
    refused_at: float = 0.0
    not_before: float = 0.0
    """BRAIN said that there were too many attempts: Unix seconds before which there is no other."""


class SessionFile:
    """The file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> StoredSession:
        """Return what is kept, nothing where it cannot be read."""
        row = read_json(self._path) or {}
        cookies = row.get("cookies")
        try:
            return StoredSession(
                salt=str(row.get("salt", "")),
                account=str(row.get("account", "")),
                cookies={str(k): str(v) for k, v in cookies.items()} if isinstance(cookies, dict) else {},
                persona=str(row.get("persona", "")),
                refused=str(row.get("refused", "")),
                refused_at=float(row.get("refused_at", 0.0)),
                not_before=float(row.get("not_before", 0.0)),
            )
        except (TypeError, ValueError, OverflowError):
            return StoredSession()

    def write(self, kept: StoredSession) -> None:
        """Keep this; a file that cannot be written costs a sign-in at the next start, and is logged."""
        row = {name: getattr(kept, name) for name in StoredSession.__slots__}
        try:
            replace_text(self._path, json.dumps(row) + "\n")
        except OSError as error:
            _log.warning("brain.session_unkept", extra=fields(error=error.strerror))


class BrainSession:
    """Sends requests as somebody who is signed in. Used by one thread."""

    def __init__(
        self, wire: BrainHttp, account: Callable[[], Credentials], file: SessionFile, clock: Clock
    ) -> None:
        self._wire = wire
        self._account = account
        self._file = file
        self._clock = clock
        self._signed_in = False
        self._permissions: frozenset[str] = frozenset()

    @property
    def permissions(self) -> frozenset[str]:
        """Return what the account may do, as far as BRAIN has said."""
        return self._permissions

    @property
    def signed_in(self) -> bool:
        """Tell whether there is a session, as far as is known."""
        return self._signed_in

    def close(self) -> None:
        """Close the connections; the session itself goes on at BRAIN."""
        self._wire.close()

    def send(self, method: str, path: str, **named: Any) -> BrainAnswer:
        """Send a request and return its good answer; raise BrainError for any other.

        Where BRAIN says 401 the session is renewed, once.
        """
        self.ensure()
        answer = self._wire.send(method, path, **named)
        if answer.status == _UNAUTHORIZED:
            _log.info("brain.session_over")
            self._renew()
            answer = self._wire.send(method, path, **named)
        error = error_of(answer, self._clock.time())
        if error is not None:
            raise error
        return answer

    def _renew(self) -> None:
        """Sign in again; whatever goes wrong here, the request itself was not taken."""
        self._signed_in = False
        try:
            self._sign_in(self._account())
        except BrainAwayError as error:
            raise BrainAwayError(error.message, wait=error.wait, sent=False) from error

    def ensure(self) -> bool:
        """Be signed in: by the session that was kept if it still holds, else anew; raise BrainError if not.

        Return whether BRAIN had to be asked.
        """
        if self._signed_in:
            return False
        account = self._account()
        kept = self._file.read()
        if kept.cookies and kept.account == _mark(kept.salt, account):
            self._wire.restore(kept.cookies)
            answer = self._wire.send("GET", AUTHENTICATION)
            if answer.status == _OK:
                self._welcome(answer)
                return True
        self._sign_in(account)
        return True

    def seconds_left(self) -> Seconds | None:
        """Return how long BRAIN lets this session last, None if it says there is none."""
        return _expiry(self._wire.send("GET", AUTHENTICATION).document)

    def _sign_in(self, account: Credentials) -> None:
        kept = self._known(account)
        if self._was_refused(kept, account):
            raise BrainAccessError(_REFUSED, hint=f"They are not sent again before they change. {_CORRECT}")
        wait = kept.not_before - self._clock.time()
        if 0 < wait <= _LONGEST_WAIT:
            raise BrainLimitError(_ATTEMPTS, wait=wait)
        if not kept.persona:
            self._wire.restore({})
        answer = self._wire.send("POST", kept.persona or AUTHENTICATION, account=account)
        if answer.status == _CREATED:
            self._welcome(answer)
            self._file.write(StoredSession(kept.salt, kept.account, self._wire.cookies()))
            _log.info("brain.signed_in", extra=fields(seconds_left=_expiry(answer.document)))
            return
        raise self._refusal(answer, kept, account)

    def _known(self, account: Credentials) -> StoredSession:
        """Return what is kept of this account, with no session; another account's is forgotten."""
        kept = self._file.read()
        if kept.salt and kept.account == _mark(kept.salt, account):
            return kept
        salt = secrets.token_hex(8)
        return StoredSession(salt, _mark(salt, account))

    def _was_refused(self, kept: StoredSession, account: Credentials) -> bool:
        if kept.refused != account.version:
            return False
        recent = 0 <= self._clock.time() - kept.refused_at < _ENVIRONMENT_AGAIN
        return recent or account.version != "environment"

    def _refusal(self, answer: BrainAnswer, kept: StoredSession, account: Credentials) -> BrainError:
        """Return why there is no session, and keep what the next attempt has to know."""
        denied = answer.status == _UNAUTHORIZED
        if denied and (kept.persona or _asks_for_persona(answer)):
            persona = self._persona(answer) or kept.persona
            self._file.write(StoredSession(kept.salt, kept.account, persona=persona))
            return PersonaError(persona)
        error = error_of(answer, self._clock.time()) or BrainAccessError("BRAIN gives no session")
        if isinstance(error, BrainLimitError) and not kept.persona:
            wait = max(error.wait or 0.0, _ATTEMPTS_AGAIN)
            self._file.write(replace(kept, not_before=self._clock.time() + wait))
            return BrainLimitError(_ATTEMPTS, wait=wait)
        if kept.persona and isinstance(error, BrainGoneError | BrainRefusedError | BrainAccessError):
            # The inquiry is over before anybody answered it; the next attempt begins another.
            self._file.write(StoredSession(kept.salt, kept.account))
        if not denied:
            return error
        now = self._clock.time()
        self._file.write(StoredSession(kept.salt, kept.account, refused=account.version, refused_at=now))
        said = "; ".join(messages(answer.document).values()) or "wrong e-mail address or password"
        return BrainAccessError(
            _REFUSED, hint=f"It says: {said}. They are not sent again before they change. {_CORRECT}"
        )

    def _persona(self, answer: BrainAnswer) -> str:
        location = answer.headers.get("location", "")
        return self._wire.absolute(urljoin(self._wire.absolute(AUTHENTICATION), location)) if location else ""

    def _welcome(self, answer: BrainAnswer) -> None:
        self._signed_in = True
        document = answer.document if isinstance(answer.document, dict) else {}
        found = document.get("permissions")
        self._permissions = frozenset(map(str, found)) if isinstance(found, list) else frozenset()


def _mark(salt: str, account: Credentials) -> str:
    return hashlib.sha256(f"{salt}:{account.email}".encode()).hexdigest()[:16]


def _asks_for_persona(answer: BrainAnswer) -> bool:
    return answer.headers.get("www-authenticate", "").strip().lower().startswith("persona")


def _expiry(document: Any) -> Seconds | None:
    token = document.get("token") if isinstance(document, dict) else None
    expiry = token.get("expiry") if isinstance(token, dict) else None
    return finite_number(expiry)
