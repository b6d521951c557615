"""The mend that a refused address of the page names, carried out as it stands there."""

import re
import stat
import subprocess
from pathlib import Path

import pytest

from fleet.config.schema import WebSettings
from fleet.runtime.errors import ConfigError
from fleet.runtime.home import Home
from fleet.startup.web_address import read_token, require_safe_address


def test_the_named_command_makes_a_token_before_the_first_start(tmp_path: Path) -> None:
    home, web = Home(tmp_path / "a new home"), WebSettings("0.0.0.0:9800")
    with pytest.raises(ConfigError) as caught:
        require_safe_address(web, home)
    found = re.search("`(.+)`", caught.value.hint)
    assert found is not None
    subprocess.run(["sh", "-c", found[1]], check=True, timeout=60)
    require_safe_address(web, home)
    assert len(read_token(home)) == 64
    assert stat.S_IMODE(home.run.stat().st_mode) == 0o700
