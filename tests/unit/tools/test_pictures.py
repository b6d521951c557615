"""The kept pictures of the page and of the live view."""

import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from PIL import Image

from fleet.runtime.home import Home
from tools.pictures import MOST_BYTES, PICTURES, came_down, keep, own_fonts, small


@pytest.mark.parametrize("name", ["page.png", "page-alphas.png", "page-phone.png", "watch.svg"])
def test_a_kept_picture_is_small_and_needs_no_other_host(name: str) -> None:
    content = (PICTURES / name).read_bytes()
    assert 1000 < len(content) <= MOST_BYTES
    if name.endswith(".svg"):
        ET.fromstring(content)
        assert b"url(" not in content.replace(b"url(#", b"")


def test_the_picture_of_the_live_view_bears_the_products_name() -> None:
    picture = (PICTURES / "watch.svg").read_text()
    assert re.findall(r'<text class="[^"]*-title"[^>]*>([^<]*)</text>', picture) == ["Model&#160;Fleet"]


def test_a_fleet_that_has_no_state_yet_has_not_come_down(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert not came_down(home)
    (tmp_path / "model_fleet_state.json").write_text('{"current_model_index": 2, "switches": 2}')
    assert came_down(home)


def test_fonts_of_another_host_are_left_out() -> None:
    svg = (
        '<style>@font-face {\n src: url("https://x/y");\n}\n.t { font-family: Fira Code, monospace }</style>'
    )
    assert own_fonts(svg) == "<style>.t { font-family: ui-monospace, monospace }</style>"


def test_a_picture_in_few_colours_keeps_its_size() -> None:
    kept = io.BytesIO()
    Image.effect_noise((60, 40), 50).convert("RGB").save(kept, "PNG")
    assert Image.open(io.BytesIO(small(kept.getvalue()))).size == (60, 40)


def test_a_large_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="more than"):
        keep("page.png", bytes(MOST_BYTES + 1))
