"""A real Chromium: Debian's, driven by Playwright; and axe, which judges a page's accessibility."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, sync_playwright

from tests.parts.require import require

PART = "chromium"
AXE = Axe()
_NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser, and end it."""
    path = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if path is None:
        require(PART, "there is no chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()
