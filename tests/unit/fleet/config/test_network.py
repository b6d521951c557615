"""Addresses of dask schedulers: off loopback only with TLS."""

import pytest

from fleet.config.load import load_settings
from fleet.config.network import check_dask_address
from fleet.runtime.errors import ConfigError


@pytest.mark.parametrize(
    "address",
    [
        "tls://gpu-2.example.org:8786",
        "tls://10.0.0.2:8786",
        "tls://[fd00::1]:8786",
        "tls://127.0.0.1:8786",
        "tcp://127.0.0.1:8786",
        "tcp://localhost:65535",
        "tcp://[::1]:1",
    ],
)
def test_an_address_that_no_stranger_reaches_is_accepted(address: str) -> None:
    check_dask_address(address)
    assert load_settings(None, {"FLEET_GENERATOR_DASK": address}).generator.dask == address


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("tcp://gpu2:8786", "write tls://gpu2:8786"),
        ("tcp://0.0.0.0:8786", "write tls://0.0.0.0:8786"),
        ("tcp://[fd00::1]:8786", r"write tls://\[fd00::1\]:8786"),
        ("tcp://127.0.0.1.example.org:8786", "others reach 127.0.0.1.example.org"),
        ("gpu2:8786", "no tls:// or tcp:// address with a port"),
        ("tls://gpu2", "with a port"),
        ("tls://gpu2:0", "from 1 to 65535"),
        ("tls://gpu2:65536", "from 1 to 65535"),
        ("tls://me:secret@gpu2:8786", "no tls://"),
        ("ucx://gpu2:8786", "no tls://"),
        ("tls://gpu2:8786/x", "no tls://"),
    ],
)
def test_another_address_is_refused_with_its_key_and_the_mend(address: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_dask_address(address)
    with pytest.raises(ConfigError, match="FLEET_GENERATOR_DASK") as caught:
        load_settings(None, {"FLEET_GENERATOR_DASK": address})
    assert reason.replace("\\", "") in str(caught.value)
