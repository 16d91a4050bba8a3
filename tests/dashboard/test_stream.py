"""Streams of live updates, on a simulated clock."""

import asyncio
import re
from html import unescape

import pytest
from attrs import define

from perdure.dashboard.instance import StreamDetails, stream_panel
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.runtime.simulated import Simulation
from perdure.server.admission import Bulkhead
from perdure.server.dashboard_routes import INTERVAL_MS, LIFETIME_MS, PageUpdate, stream
from perdure.values.stream import StreamItem


@define
class Page:
    """A page that changes when a test says so."""

    text: str = "first"
    kind: str = "page"
    updates: int = 0

    async def now(self):
        self.updates += 1
        return PageUpdate(self.kind, self.text, "now")


def streams_of(limit, of_one=None):
    """Return what bounds the streams."""
    return Bulkhead(name="streams", limit=limit, of_one=of_one or limit, runtime=asyncio_runtime())


def names(chunks):
    return [chunk.decode().split("\n")[0] for chunk in chunks]


def followed(page, streams, *, closing=lambda: False, most=1_000):
    """Follow a page to the end of its stream, or for some events; return their names, and the time that passed."""
    simulation = Simulation(seed=0)

    async def follow():
        began = simulation.runtime.monotonic_ms()
        chunks = []
        body = stream(page.now, streams, "one", simulation.runtime, closing).body_iterator
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

    found, _ = followed(page, streams_of(1), closing=change, most=6)
    assert found == ["retry: 1000", "event: page", "event: pulse", "event: pulse", "event: page", "event: pulse"]


def test_a_page_is_computed_at_most_once_a_second_and_its_stream_ends():
    page, streams = Page(), streams_of(1)
    found, took_ms = followed(page, streams)
    assert (took_ms, page.updates) == (LIFETIME_MS, LIFETIME_MS // INTERVAL_MS)
    assert (len(found), streams.held) == (page.updates + 1, 0)


@pytest.mark.parametrize("kind", ["signed-out", "page"])
def test_a_stream_ends_with_its_session_or_its_server(kind):
    page, streams = Page(kind=kind), streams_of(1)
    found, took_ms = followed(page, streams, closing=lambda: page.updates >= 1)
    assert (found[1:], streams.held) == ([f"event: {kind}"], 0)
    assert took_ms <= INTERVAL_MS


@pytest.mark.parametrize(
    ("limits", "clients", "shown"), [((2, 2), "aaaa", "pp-p"), ((4, 1), "aaba", "p-p-"), ((2, 1), "abcd", "pp--")]
)
def test_one_stream_more_than_the_limit_says_so_and_ends(limits, clients, shown):
    """The first stream ends before the last one begins, if that is of the same client."""

    async def open_streams():
        streams, page = streams_of(*limits), Page()
        runtime = asyncio_runtime()

        async def opened(client):
            body = stream(page.now, streams, client, runtime, lambda: False).body_iterator
            return body, names([await anext(body), await anext(body)])[1]

        bodies = [await opened(client) for client in clients[:3]]
        if limits == (2, 2):
            await bodies[0][0].aclose()
        bodies.append(await opened(clients[3]))
        for body, _ in bodies:
            await body.aclose()
        return "".join("-" if found == "event: full" else "p" for _, found in bodies), streams.held

    assert asyncio.run(open_streams()) == (shown, 0)


# ---------------------------------------------------------------- the panel of a job's stream
def a_chunk(offset, step, value):
    return StreamItem(form="chunk", offset=offset, step=step, value=value)


PANELS = [
    ([], 0, "0", "No chunk is stored."),
    # Texts continue each other; other values have a line each.
    ([a_chunk(0, "0 say", '"a "'), a_chunk(1, "0 say", '"b"')], 2, "2", "#0 0 saya b"),
    ([a_chunk(3, "", "1"), a_chunk(4, "", '"b"')], 5, "the newest of 5", '#3 1\n"b"'),
    # A mark names the step whose chunks it replaces; one without a step replaces all.
    (
        [a_chunk(0, "0 a", "1"), a_chunk(1, "1 b", "2"), StreamItem(form="again", offset=2, step="0 a")],
        3,
        "3",
        "#0 0 a<s>1</s> (replaced below)#1 1 b2#2 0 abegan again",
    ),
    (
        [a_chunk(0, "0 a", "1"), StreamItem(form="again", offset=1), a_chunk(2, "0 a", "3")],
        3,
        "3",
        "#0 0 a<s>1</s> (replaced below)#1 began again#2 0 a3",
    ),
    (
        [StreamItem(form="dropped", offset=9, count=10), a_chunk(10, "", "1")],
        11,
        "the newest of 11",
        "#9 10 chunks are no",
    ),
]


@pytest.mark.parametrize(("items", "count", "note", "text"), PANELS)
def test_the_panel_of_a_stream_shows_chunks_in_order_and_those_that_a_mark_replaces(items, count, note, text):
    shown = unescape(str(stream_panel(StreamDetails(name="s", items=tuple(items), count=count))))
    plain = re.sub(r"<(?!/?s>)[^>]+>", "", shown)
    assert plain.startswith(f"Stream s{note}")
    assert text in plain.removeprefix(f"Stream s{note}")


def test_the_panel_of_a_stream_shortens_a_long_chunk_and_says_why_it_is_not_readable():
    items = (a_chunk(0, "", f'"{"x" * 1_001}"'), a_chunk(1, "", f'"{"z" * 1_000}"'))
    shown = str(stream_panel(StreamDetails(name="s", items=items, count=2)))
    assert (shown.count("x") < 1_000, shown.count("z")) == (True, 1_000)
    assert "Not readable: a damaged row" in str(stream_panel(StreamDetails(name="s", problem="a damaged row")))
