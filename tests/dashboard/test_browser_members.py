"""The engines that share a store, on the dashboard in Chromium."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from engine_process import Engine, free_port
from playwright.sync_api import Page, expect
from postgres_harness import SharedPostgresHarness

from perdure.cli.commands import run_command

LEASE = "4s"


@pytest.fixture
def engines(postgres_url: str) -> Iterator[tuple[Engine, Engine]]:
    harness = SharedPostgresHarness(postgres_url)
    url = harness.url.replace("lease=30s", f"lease={LEASE}")
    two = Engine(url, free_port(), {}), Engine(url, free_port(), {})
    with closing(_Processes(two)):
        yield two
    discard = threading.Thread(target=lambda: asyncio.run(harness.discard()))  # the browser has a loop in this thread
    discard.start()
    discard.join()


class _Processes:
    def __init__(self, engines: tuple[Engine, Engine]) -> None:
        self.engines = engines
        for engine in engines:
            engine.start()

    def close(self) -> None:
        for engine in self.engines:
            assert engine.process is not None
            if engine.process.poll() is None:
                engine.kill()


def test_an_engine_that_dies_leaves_the_page(
    page: Page, engines: tuple[Engine, Engine], capsys: pytest.CaptureFixture[str]
) -> None:
    """Both have a share; the one that is killed is gone within its lease, and the other one has the whole."""
    here, there = engines
    assert here.process is not None
    assert there.process is not None
    page.goto(here.url)
    rows = page.locator("#members tbody tr")
    expect(rows).to_have_count(2)
    expect(page.locator("#members h2")).to_contain_text(f":{here.process.pid}")
    dead = rows.filter(has_text=f":{there.process.pid}")
    expect(dead).to_contain_text("lease for")
    expect(dead.locator("td.count")).not_to_have_text("0%")
    there.kill()
    expect(rows).to_have_count(1)
    expect(rows.locator("td.count")).to_have_text("100%")
    assert run_command(["members", "--server", here.url.removesuffix("/dashboard")]) == 0
    assert f":{here.process.pid}" in capsys.readouterr().out
