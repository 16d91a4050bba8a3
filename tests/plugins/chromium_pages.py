"""Chromium, for the tests of pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # most processes of a run open no browser
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WAIT_MS = 20_000


@pytest.fixture(scope="module")  # while it is open, no test of the process can run an event loop
def chromium() -> Iterator[Browser]:
    """Chromium. In CI it must be there; elsewhere the tests are skipped, loudly."""
    if CHROMIUM is None:
        if os.environ.get("PERDURE_BROWSER") == "required":
            pytest.fail("no Chromium on this machine: apt-get install chromium")
        pytest.skip("NO CHROMIUM: the pages are not tested in a browser; apt-get install chromium")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - as above

    with sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page that raises at the end if a script failed or the policy of a page was violated."""
    problems: list[str] = []
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text) if "Content Security Policy" in line.text else None)
    yield page
    context.close()
    assert problems == []
