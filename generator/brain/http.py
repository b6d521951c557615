"""HTTPS connection to BRAIN over `requests`: sends a request and returns its answer, good or bad.

It follows no redirect and sends nothing to any other server.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from fleet.runtime.units import Seconds
from generator.brain.credentials import Credentials
from generator.brain.errors import BrainAwayError, BrainError
from generator.brain.responses import BrainAnswer, read_answer

_TIMEOUTS: tuple[Seconds, Seconds] = (10.0, 60.0)
_MOST_BYTES = 32 * 1024**2
_CHUNK = 64 * 1024


class _NoAuth(AuthBase):
    """Keeps `requests` from sending an entry of .netrc beside the session's cookie."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class BrainHttp:
    """The connection; for one thread."""

    def __init__(self, url: str, timeouts: tuple[Seconds, Seconds] = _TIMEOUTS) -> None:
        self._url = url
        self._timeouts = timeouts
        self._session = requests.Session()
        self._session.headers["Accept"] = "application/json"

    def absolute(self, path: str) -> str:
        """Return the full address of a path or `Location`; raise BrainError if it names another server.

        BRAIN writes its addresses as seen behind its proxy (`http://…:443/…`); only the path is used.
        """
        ours, theirs = urlsplit(self._url), urlsplit(urljoin(f"{self._url}/", path))
        if theirs.hostname != ours.hostname:
            raise BrainError(f"BRAIN names an address on another server: {str(theirs.hostname)[:80]}")
        return urlunsplit((ours.scheme, ours.netloc, theirs.path, theirs.query, ""))

    def send(
        self,
        method: str,
        path: str,
        *,
        document: Any = None,
        query: Mapping[str, str | int] | None = None,
        account: Credentials | None = None,
    ) -> BrainAnswer:
        """Send a request and return the answer; raise BrainAwayError without one."""
        url = self.absolute(path)
        auth = _NoAuth() if account is None else _basic(account)
        try:
            with self._session.request(
                method,
                url,
                json=document,
                params=query,
                auth=auth,
                timeout=self._timeouts,
                allow_redirects=False,
                stream=True,
            ) as response:
                answer = read_answer(response.status_code, response.headers, _body(response))
        except requests.exceptions.ConnectTimeout as error:
            raise BrainAwayError(f"{self._url} cannot be reached in time", sent=False) from error
        except requests.exceptions.ConnectionError as error:
            sent = "NewConnectionError" not in repr(error) and "NameResolution" not in repr(error)
            raise BrainAwayError(f"{self._url} cannot be reached: {_reason(error)}", sent=sent) from error
        except (requests.exceptions.RequestException, OSError, ValueError) as error:
            raise BrainAwayError(f"{self._url} did not answer: {_reason(error)}") from error
        return answer

    def cookies(self) -> dict[str, str]:
        """Return the session's cookies; they are as secret as the password."""
        return {cookie.name: cookie.value or "" for cookie in self._session.cookies}

    def restore(self, cookies: Mapping[str, str]) -> None:
        """Replace the session's cookies; without any, the session is signed out."""
        self._session.cookies.clear()
        host = urlsplit(self._url).hostname or ""
        for name, value in cookies.items():
            self._session.cookies.set(name, value, domain=host if "." in host else f"{host}.local", path="/")

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


def _body(response: requests.Response) -> bytes:
    body = b""
    for part in response.iter_content(_CHUNK):
        body += part
        if len(body) > _MOST_BYTES:
            raise BrainError("BRAIN's answer is too long")
    return body


def _basic(account: Credentials) -> HTTPBasicAuth:
    # As bytes: `requests` encodes text in Latin-1, which cannot hold every password.
    return HTTPBasicAuth(account.email.encode(), account.password.encode())


def _reason(error: Exception) -> str:
    return type(error).__name__
