"""docker-py's client for a log source: cheap to open again and again, without leaked sockets."""

from typing import Any

from docker.api import APIClient
from docker.constants import DEFAULT_DOCKER_API_VERSION
from docker.transport.unixconn import UnixHTTPAdapter, UnixHTTPConnection, UnixHTTPConnectionPool
from docker.utils import kwargs_from_env, parse_host

from fleet.clients.http import connect_unix


def open_client(seconds: float) -> tuple[APIClient, str]:
    """Return a client of the Engine at DOCKER_HOST, and the prefix of its URLs with the Engine's newest API version.

    If no Engine answers in time, the errors of docker-py, requests or the socket are raised; ValueError if something
    else answers.
    """
    settings = kwargs_from_env()
    path = unix_socket(settings.get("base_url"))
    if path is not None:
        connect_unix(path, seconds).close()  # fails fast without a daemon; docker-py takes milliseconds
    client = APIClient(version=DEFAULT_DOCKER_API_VERSION, timeout=int(seconds), **settings)
    try:
        if path is not None:
            client.mount("http+docker://", _Adapter(f"http+unix://{path}", int(seconds)))
            client.trust_env = False  # a unix socket needs no proxy and no .netrc
        return client, f"{client.base_url}/v{_newest_version(client, seconds)}"
    except BaseException:
        client.close()
        raise


def unix_socket(address: str | None) -> str | None:
    """Return the path of the Engine's unix socket, None for TCP; raises DockerException for an invalid address."""
    scheme, _, path = str(parse_host(address)).partition("://")
    return path if scheme == "http+unix" else None


def _newest_version(client: APIClient, seconds: float) -> str:
    answer = client.get(f"{client.base_url}/version", timeout=seconds).json()
    if not isinstance(answer, dict) or "ApiVersion" not in answer:
        raise ValueError("the server at DOCKER_HOST is no Docker Engine")
    return str(answer["ApiVersion"])


class _Adapter(UnixHTTPAdapter):
    """docker-py's adapter, without the socket that it leaks if no daemon listens."""

    def get_connection(self, url: bytes | str, proxies: object = None) -> UnixHTTPConnectionPool:
        del proxies  # a unix socket has none
        with self.pools.lock:
            pool: UnixHTTPConnectionPool | None = self.pools.get(url)
            if pool is None:
                pool = self.pools[url] = _Pool(str(url), self.socket_path, self.timeout, self.max_pool_size)
            return pool


class _Pool(UnixHTTPConnectionPool):
    def _new_conn(self) -> Any:
        timeout: Any = self.timeout  # docker-py replaces urllib3's object by a number
        return _Connection(self.base_url, self.socket_path, timeout)


class _Connection(UnixHTTPConnection):
    def connect(self) -> None:
        self.sock = connect_unix(self.unix_socket, self.timeout)
