"""Streams of live updates, on a simulated clock."""

import asyncio

import pytest
from attrs import define

from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.runtime.simulated import Simulation
from perdure.server.dashboard_stream import INTERVAL_MS, LIFETIME_MS, PageUpdate, Streams, stream


@define
class Page:
    """A page that changes when a test says so."""

    text: str = "first"
    kind: str = "page"
    updates: int = 0

    async def now(self):
        self.updates += 1
        return PageUpdate(self.kind, self.text, "now")


def names(chunks):
    return [chunk.decode().split("\n")[0] for chunk in chunks]


def followed(page, streams, *, closing=lambda: False, most=1_000):
    """Follow a page to the end of its stream, or for some events; return their names, and the time that passed."""
    simulation = Simulation(seed=0)

    async def follow():
        began = simulation.runtime.monotonic_ms()
        chunks = []
        body = stream(page.now, streams, simulation.runtime, closing).body_iterator
        async for chunk in body:
            chunks.append(chunk)
            if len(chunks) >= most:
                break
        await body.aclose()
        return names(chunks), simulation.runtime.monotonic_ms() - began

    return simulation.run(follow())


def test_a_page_is_sent_once_and_again_only_when_it_changed():
    page = Page()

    def change():
        page.text = "second" if page.updates >= 3 else "first"
        return False

    found, _ = followed(page, Streams(1), closing=change, most=6)
    assert found == ["retry: 1000", "event: page", "event: pulse", "event: pulse", "event: page", "event: pulse"]


def test_a_page_is_computed_at_most_once_a_second_and_its_stream_ends():
    page, streams = Page(), Streams(1)
    found, took_ms = followed(page, streams)
    assert (took_ms, page.updates) == (LIFETIME_MS, LIFETIME_MS // INTERVAL_MS)
    assert (len(found), streams.count) == (page.updates + 1, 0)


@pytest.mark.parametrize("kind", ["signed-out", "page"])
def test_a_stream_ends_with_its_session_or_its_server(kind):
    page, streams = Page(kind=kind), Streams(1)
    found, took_ms = followed(page, streams, closing=lambda: page.updates >= 1)
    assert (found[1:], streams.count) == ([f"event: {kind}"], 0)
    assert took_ms <= INTERVAL_MS


def test_one_stream_more_than_the_limit_says_so_and_ends():
    async def open_streams():
        streams, page = Streams(2), Page()
        runtime = asyncio_runtime()
        bodies = [stream(page.now, streams, runtime, lambda: False).body_iterator for _ in range(3)]
        first = [[await anext(body), await anext(body)] for body in bodies]
        await bodies[0].aclose()
        again = stream(page.now, streams, runtime, lambda: False).body_iterator
        last = [await anext(again), await anext(again)]
        for body in (*bodies, again):
            await body.aclose()
        return [names(each)[1] for each in (*first, last)], streams.count

    assert asyncio.run(open_streams()) == (["event: page", "event: page", "event: full", "event: page"], 0)
