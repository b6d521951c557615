"""docker-py's client as a log source wants it: cheap to try again and again, and leaving nothing open."""

import http.client
import importlib
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from docker.api import APIClient
from docker.constants import DEFAULT_DOCKER_API_VERSION
from docker.transport.unixconn import UnixHTTPAdapter, UnixHTTPConnection, UnixHTTPConnectionPool
from docker.utils import kwargs_from_env, parse_host

from fleet.clients.http import UnixConnection, WireError, WireTimeoutError, connect_unix, send
from fleet.runtime.untrusted import parse_json

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


@dataclass(frozen=True, slots=True)
class EngineReply:
    """A whole answer of the Engine."""

    status: int
    reason: str
    content: bytes

    def json(self) -> Any:
        """Return the body's value; raise ValueError if it is no JSON."""
        return parse_json(self.content)


class Asker:
    """Asks the Engine what has a short answer; raises what requests or a socket does where none comes.

    What is asked again and again for as long as a log is silent goes straight to the socket: through docker-py
    and requests it takes several times as much.
    """

    def __init__(self, client: APIClient, seconds: float) -> None:
        self._client = client
        self._seconds = seconds
        self._path = unix_socket(kwargs_from_env().get("base_url"))

    def get(self, url: str, params: Mapping[str, str | int] | None = None) -> EngineReply:
        """Return the answer at a URL of the client's."""
        if self._path is None:
            reply = self._client.get(url, params=params, timeout=self._seconds)
            return EngineReply(reply.status_code, reply.reason or "", reply.content)
        parts = urlsplit(url)
        target = f"{parts.path}?{urlencode(params)}" if params else parts.path
        try:
            answer = send(UnixConnection(self._path, self._seconds), "GET", target)
            return EngineReply(answer.status, http.client.responses.get(answer.status, ""), answer.read())
        except WireTimeoutError as error:
            raise TimeoutError("timed out") from error
        except WireError as error:
            raise OSError(str(error)) from error


def open_client(seconds: float) -> tuple[APIClient, str]:
    """Return a client of the Engine that DOCKER_HOST and its relatives lead to, and what its URLs begin with.

    They name the newest version of its API that the Engine speaks. Raises what docker-py, requests or a socket
    does where none answers in time, ValueError for what is none.
    """
    settings = kwargs_from_env()
    path = unix_socket(settings.get("base_url"))
    if path is not None:
        connect_unix(path, seconds).close()  # finds out for little; through docker-py it takes milliseconds
    client = APIClient(version=DEFAULT_DOCKER_API_VERSION, timeout=int(seconds), **settings)
    try:
        if path is not None:
            client.mount("http+docker://", _Adapter(f"http+unix://{path}", int(seconds)))
            client.trust_env = False  # no proxy and no .netrc stands between us and a socket
        return client, f"{client.base_url}/v{_newest_version(client, seconds)}"
    except BaseException:
        client.close()
        raise


def unix_socket(address: str | None) -> str | None:
    """Return the path of the Engine's socket, None if it is elsewhere; raises DockerException for no address."""
    scheme, _, path = str(parse_host(address)).partition("://")
    return path if scheme == "http+unix" else None


def _newest_version(client: APIClient, seconds: float) -> str:
    answer = client.get(f"{client.base_url}/version", timeout=seconds).json()
    if not isinstance(answer, dict) or "ApiVersion" not in answer:
        raise ValueError("what answers is no Engine")
    return str(answer["ApiVersion"])


class _Adapter(UnixHTTPAdapter):
    """docker-py's own, without the socket that it leaves open where nothing listens."""

    def get_connection(self, url: bytes | str, proxies: object = None) -> UnixHTTPConnectionPool:
        del proxies  # there are none on the way to a socket
        with self.pools.lock:
            pool: UnixHTTPConnectionPool | None = self.pools.get(url)
            if pool is None:
                pool = self.pools[url] = _Pool(str(url), self.socket_path, self.timeout, self.max_pool_size)
            return pool


class _Pool(UnixHTTPConnectionPool):
    def _new_conn(self) -> Any:
        timeout: Any = self.timeout  # docker-py puts its own number in the place of urllib3's object
        return _Connection(self.base_url, self.socket_path, timeout)


class _Connection(UnixHTTPConnection):
    def connect(self) -> None:
        self.sock = connect_unix(self.unix_socket, self.timeout)
