"""Checks of network addresses: loopback, servers, dask schedulers (pure)."""

import ipaddress
import re

_FORM = re.compile(r"(?P<scheme>tls|tcp)://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")
_SERVER = re.compile(r"https?://([^\s/@:?#\[\]]+|\[[0-9A-Fa-f:.%\w]+\])(:(?P<port>[0-9]{1,5}))?(/[^\s@]*)?")
_PORTS = 65536


def is_loopback(host: str) -> bool:
    """Return True if only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_server_address(address: str) -> None:
    """Raise ValueError unless the address is one of a web server, without a user."""
    found = _SERVER.fullmatch(address)
    if found is None:
        raise ValueError("no http:// or https:// address with a host")
    if found["port"] is not None and not 0 < int(found["port"]) < _PORTS:
        raise ValueError("a port is a number from 1 to 65535")


def check_dask_address(address: str) -> None:
    """Raise ValueError unless the address is that of a scheduler that no stranger reaches.

    A client of a scheduler may run programs on its workers. Off loopback only certificates keep others out.
    """
    found = _FORM.fullmatch(address)
    if found is None or not 0 < int(found["port"]) < _PORTS:
        raise ValueError("no tls:// or tcp:// address with a port from 1 to 65535")
    if found["scheme"] == "tcp" and not is_loopback(found["host"]):
        raise ValueError(
            f"others reach {found['host']}: write tls://{found['host']}:{found['port']} and make certificates, see "
            "docs/scale.md"
        )
