"""`OLLAMA_HOST` in all its forms."""

import pytest

from fleet.clients.ollama import client_url, ollama_url


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("gpu-box", "http://gpu-box:11434"),
        ("gpu-box:8080", "http://gpu-box:8080"),
        (":11435", "http://127.0.0.1:11435"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("[::]:11434", "http://127.0.0.1:11434"),
        ("::", "http://127.0.0.1:11434"),
        ("::1", "http://[::1]:11434"),
        ("[fe80::1]:80", "http://[fe80::1]:80"),
        ("http://gpu-box", "http://gpu-box:80"),
        ("https://gpu-box", "https://gpu-box:443"),
        ("https://gpu-box:8443/ollama/", "https://gpu-box:8443/ollama"),
        ("gpu-box/ollama", "http://gpu-box:11434/ollama"),
        ("http://0.0.0.0:11434", "http://127.0.0.1:11434"),
        (' "gpu-box:80" ', "http://gpu-box:80"),
        ("gpu-box:99999", "http://gpu-box:11434"),
        ("gpu-box:x", "http://gpu-box:11434"),
        ("http://user:secret@gpu-box:80", "http://gpu-box:80"),
    ],
)
def test_every_form_of_the_host_is_an_address(host: str, url: str) -> None:
    assert ollama_url(host) == url


@pytest.mark.parametrize(
    ("configured", "host", "url"),
    [
        ("http://one:1", "two:2", "http://one:1"),
        ("", "two:2", "http://two:2"),
        ("", "  ", "http://127.0.0.1:11434"),
        ("", None, "http://127.0.0.1:11434"),
    ],
)
def test_what_is_configured_wins_over_the_host(configured: str, host: str | None, url: str) -> None:
    environ = {} if host is None else {"OLLAMA_HOST": host}
    assert client_url(configured, environ) == url
