"""Session at BRAIN: restored from a file at the start, renewed after a 401, with few sign-ins.

`run/brain.json` (mode 0600) stores the session's cookie: a restart needs no new biometric sign-in. It also stores the
address of a pending biometric sign-in. Refused credentials are recorded too and never sent a second time. The file
stores neither e-mail address nor password.
"""

import contextlib
import hashlib
import json
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
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
from generator.brain.responses import TRANSIENT, BrainAnswer, error_of, finite_number, messages

if TYPE_CHECKING:
    from generator.brain.sign_in import SignInTurns

AUTHENTICATION = "/authentication"
_CREATED, _OK, _UNAUTHORIZED = 201, 200, 401
# Refused credentials from the environment have no version: they may have been corrected at BRAIN meanwhile.
_ENVIRONMENT_RETRY: Seconds = 3600.0
# An attempt during a lock may prolong the lock.
_LOCKOUT_WAIT: Seconds = 900.0
_LONGEST_WAIT: Seconds = 3600.0
# Longer than the wait for the next check of a pending biometric sign-in.
_REFUSED_WAIT: Seconds = 90.0
_ATTEMPTS = "BRAIN reports too many attempts to sign in"
_REFUSED = "BRAIN refuses the credentials"
_CORRECT = "Correct them, and mining resumes by itself; more attempts could lock the account."

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredSession:
    """State stored between runs, for one account; `account` is a salted hash of its e-mail address."""

    salt: str = ""
    account: str = ""
    cookies: Mapping[str, str] = field(default_factory=dict, repr=False)
    persona: str = ""
    refused: str = ""
    refused_at: float = 0.0
    not_before: float = 0.0
    """Unix seconds of the next allowed sign-in after too many attempts."""


class SessionFile:
    """Reads and writes `run/brain.json`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> StoredSession:
        """Return the stored session, an empty one if the file is missing or unreadable."""
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

    def write(self, stored: StoredSession) -> None:
        """Store the session. A failure is logged; it costs a sign-in at the next start."""
        row = {name: getattr(stored, name) for name in StoredSession.__slots__}
        try:
            replace_text(self._path, json.dumps(row) + "\n")
        except OSError as error:
            _log.warning("brain.session_unkept", extra=fields(error=error.strerror))


class BrainSession:
    """Sends requests within a signed-in session; for one thread."""

    def __init__(
        self,
        http: BrainHttp,
        account: Callable[[], Credentials],
        file: SessionFile,
        clock: Clock,
        turns: "SignInTurns | None" = None,
    ) -> None:
        self._http = http
        self._account = account
        self._file = file
        self._clock = clock
        self._turns = turns
        self._signed_in = False
        self._permissions: frozenset[str] = frozenset()
        self._account_key = ""

    @property
    def account(self) -> str:
        """Return the account's key in the database, a hash of its e-mail address; empty until it can be read."""
        if not self._account_key:
            with contextlib.suppress(BrainAccessError):
                self._remember(self._account())
        return self._account_key

    def _remember(self, account: Credentials) -> Credentials:
        self._account_key = _account_hash("brain", account)
        return account

    @property
    def permissions(self) -> frozenset[str]:
        """Return the account's permissions, as far as BRAIN has listed them."""
        return self._permissions

    @property
    def signed_in(self) -> bool:
        """Return True if the session is signed in, as far as is known."""
        return self._signed_in

    def close(self) -> None:
        """Close the connections; the session stays valid at BRAIN."""
        self._http.close()

    def send(self, method: str, path: str, **named: Any) -> BrainAnswer:
        """Send a request and return its answer; raise BrainError unless it is a success.

        After a 401 the session is renewed, once.
        """
        self.ensure()
        answer = self._http.send(method, path, **named)
        if answer.status == _UNAUTHORIZED:
            _log.info("brain.session_over")
            self._renew()
            answer = self._http.send(method, path, **named)
        error = error_of(answer, self._clock.time())
        if error is not None:
            raise error
        return answer

    def _renew(self) -> None:
        """Sign in again. An error here is raised with `sent` False: BRAIN did not accept the request itself."""
        self._signed_in = False
        try:
            self._sign_in(self._remember(self._account()))
        except BrainAwayError as error:
            raise BrainAwayError(error.message, wait=error.wait, sent=False) from error

    def ensure(self) -> bool:
        """Sign in unless the session is signed in; the stored session is tried first. Raise BrainError if that fails.

        Return True if BRAIN was asked.
        """
        if self._signed_in:
            return False
        account = self._remember(self._account())
        stored = self._file.read()
        if stored.cookies and stored.account == _account_hash(stored.salt, account):
            self._http.restore(stored.cookies)
            answer = self._http.send("GET", AUTHENTICATION)
            if answer.status == _OK:
                self._mark_signed_in(answer)
                return True
            error = error_of(answer, self._clock.time())
            if error is not None and _fails_for_all(answer.status, error):  # it says nothing of the session
                raise error
        self._sign_in(account)
        return True

    def answers(self) -> bool:
        """Return True if BRAIN answers, signed in or not."""
        try:
            answer = self._http.send("GET", AUTHENTICATION)
        except BrainError:
            return False
        return not isinstance(error_of(answer, self._clock.time()), BrainAwayError)

    def seconds_left(self) -> Seconds | None:
        """Return the seconds until the session expires, None without a session."""
        return _expiry(self._http.send("GET", AUTHENTICATION).document)

    def _sign_in(self, account: Credentials) -> None:
        stored = self._known(account)
        if self._was_refused(stored, account):
            raise BrainAccessError(_REFUSED, hint=f"They are not sent again until they change. {_CORRECT}")
        wait = stored.not_before - self._clock.time()
        if 0 < wait <= _LONGEST_WAIT:
            raise BrainLimitError(_ATTEMPTS, wait=wait)
        if not stored.persona:
            self._http.restore({})
            if self._turns is not None:
                self._turns.take(self.account)
        held: Seconds = 0.0
        try:
            answer = self._http.send("POST", stored.persona or AUTHENTICATION, account=account)
            if answer.status != _CREATED:
                refusal = self._refusal(answer, stored, account)
                held = _held_after(refusal)
                raise refusal
        finally:
            if self._turns is not None:
                self._turns.hold(self.account, held)
        self._mark_signed_in(answer)
        self._file.write(StoredSession(stored.salt, stored.account, self._http.cookies()))
        _log.info("brain.signed_in", extra=fields(seconds_left=_expiry(answer.document)))

    def _known(self, account: Credentials) -> StoredSession:
        """Return this account's stored state; for another account a new, empty one."""
        stored = self._file.read()
        if stored.salt and stored.account == _account_hash(stored.salt, account):
            return stored
        salt = secrets.token_hex(8)
        return StoredSession(salt, _account_hash(salt, account))

    def _was_refused(self, stored: StoredSession, account: Credentials) -> bool:
        if stored.refused != account.version:
            return False
        recent = 0 <= self._clock.time() - stored.refused_at < _ENVIRONMENT_RETRY
        return recent or account.version != "environment"

    def _refusal(self, answer: BrainAnswer, stored: StoredSession, account: Credentials) -> BrainError:
        """Return the error of a failed sign-in, and store the facts that the next attempt needs."""
        denied = answer.status == _UNAUTHORIZED
        if denied and (stored.persona or _asks_for_persona(answer)):
            persona = self._persona(answer) or stored.persona
            self._file.write(StoredSession(stored.salt, stored.account, persona=persona))
            return PersonaError(persona)
        error = error_of(answer, self._clock.time()) or BrainAccessError("BRAIN opens no session")
        if isinstance(error, BrainLimitError) and not stored.persona:
            wait = max(error.wait or 0.0, _LOCKOUT_WAIT)
            self._file.write(replace(stored, not_before=self._clock.time() + wait))
            return BrainLimitError(_ATTEMPTS, wait=wait)
        if stored.persona and isinstance(error, BrainGoneError | BrainRefusedError | BrainAccessError):
            # The biometric sign-in expired unanswered; the next attempt starts another.
            self._file.write(StoredSession(stored.salt, stored.account))
        if not denied:
            return error
        now = self._clock.time()
        self._file.write(StoredSession(stored.salt, stored.account, refused=account.version, refused_at=now))
        message = "; ".join(messages(answer.document).values()) or "wrong e-mail address or password"
        return BrainAccessError(
            _REFUSED, hint=f"It says: {message}. They are not sent again until they change. {_CORRECT}"
        )

    def _persona(self, answer: BrainAnswer) -> str:
        location = answer.headers.get("location", "")
        return self._http.absolute(urljoin(self._http.absolute(AUTHENTICATION), location)) if location else ""

    def _mark_signed_in(self, answer: BrainAnswer) -> None:
        self._signed_in = True
        document = answer.document if isinstance(answer.document, dict) else {}
        found = document.get("permissions")
        self._permissions = frozenset(map(str, found)) if isinstance(found, list) else frozenset()


def _fails_for_all(status: int, error: BrainError) -> bool:
    """Return True if an answer is that of a busy or failing BRAIN; a damaged cookie may get a 400 without a reason."""
    if isinstance(error, BrainLimitError):
        return True
    return isinstance(error, BrainAwayError) and (status < 300 or status >= 500 or status in TRANSIENT)  # noqa: PLR2004  # HTTP's


def _held_after(error: BrainError) -> Seconds:
    """Return the time after a refusal in which no other fleet signs in.

    An attempt may lock the account or ask a person again.
    """
    if isinstance(error, BrainLimitError):
        return error.wait or _LOCKOUT_WAIT
    return _REFUSED_WAIT if isinstance(error, BrainAccessError) else 0.0


def _account_hash(salt: str, account: Credentials) -> str:
    return hashlib.sha256(f"{salt}:{account.email}".encode()).hexdigest()[:16]


def _asks_for_persona(answer: BrainAnswer) -> bool:
    return answer.headers.get("www-authenticate", "").strip().lower().startswith("persona")


def _expiry(document: Any) -> Seconds | None:
    token = document.get("token") if isinstance(document, dict) else None
    expiry = token.get("expiry") if isinstance(token, dict) else None
    return finite_number(expiry)
