"""Pairs of features of a pool, each of which works alone: for each pair the fate of one item is stated."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import attrs
import pytest
from pool import HasImages, Images, Picture, Unreachable, customer, shrink
from returns.future import FutureResult

from perdure import App, Backoff, Do, ItemContext, Retry, WorkerPool, program, tell
from perdure.kinds.worker_pool import Done
from perdure.testing import World

WAITING = ("queued", "scheduled", "retrying")


@program
def work(ctx: ItemContext[Picture]) -> Do[str, Unreachable, HasImages]:
    """Call the service; an item whose url says so puts a child with its end."""
    picture = yield from ctx.item
    small = yield from shrink(ctx.run_id, picture.url)
    if "parent" in picture.url:
        yield from tell(plain, f"{ctx.id}-child").put(Picture(picture.customer, "child"))
    return small


@program
def note(ctx: ItemContext[Picture], error: object) -> Do[None, Unreachable, HasImages]:
    """Tell the service of an item that failed for good."""
    yield from shrink(ctx.run_id, f"failed {ctx.id}")


def pool_with(**options: Any) -> WorkerPool[Picture, str, Unreachable, HasImages]:
    retry = Retry(max_attempts=2, delay=Backoff.constant("5 s"), jitter=False)
    return WorkerPool("pairs", item=Picture, work=work, **{"retry": retry, "key": customer, "keep": None, **options})


plain = pool_with()


class Flaky(Images):
    """A service that fails the first call of a url with ``flaky``."""

    def shrink(self, run_id: str, url: str) -> FutureResult[str, Unreachable]:
        """Shrink a picture."""
        if "flaky" in url and url not in self.urls:
            self.calls.append((run_id, url))
            return FutureResult.from_failure(Unreachable(url))
        return super().shrink(run_id, url)


@attrs.define
class Item:
    """The item ``a`` of a test, and its expected fate.

    Attributes:
        world: the world.
        pool: the handle.
        url: its url.
        there: whether it was put, and not deleted by a caller.
        put_options: when it may be worked on.
    """

    world: World
    pool: Any
    url: str = "a"
    there: bool = False
    put_options: dict[str, Any] = attrs.field(factory=dict)

    @property
    def status(self) -> str:
        return self.world.run(self.pool.status("a")).status

    def put(self) -> None:
        created = self.world.run(self.pool.put("a", Picture("ann", self.url), **self.put_options)).created
        assert created != self.there
        self.there = True


def hold(item: Item) -> None:
    item.world.run(item.pool.hold())
    item.world.advance("1 s")


def retry_now(item: Item) -> None:
    waits = item.status == "retrying"
    assert item.world.run(item.pool.trigger("a")).queued == waits


def drain(item: Item) -> None:
    waits = item.status in WAITING
    cancelled = item.world.run(item.pool.drain()).cancelled
    assert cancelled >= waits
    item.there = item.there and not waits


def pause(item: Item) -> None:
    status = item.status
    assert item.world.run(item.pool.pause("a")).changed == (status in (*WAITING, "running"))
    item.world.advance("1 minute")
    assert item.status == ("paused" if status in WAITING else status)
    item.world.run(item.pool.resume("a"))


def terminate(item: Item) -> None:
    assert item.world.run(item.pool.terminate("a")).terminated == (item.status != "not_found" or item.there)
    item.there = False


def crash(item: Item) -> None:
    item.world.crash()
    item.world.open()


def nothing(item: Item) -> None:
    """An option that is set where the item is put, or in the definition."""


FEATURES: dict[str, tuple[dict[str, Any], dict[str, Any], Callable[[Item], None]]] = {
    "delay": ({}, {"after": "10 s"}, nothing),
    "hold": ({}, {}, hold),
    "head start": ({}, {"head_start": "1 hour"}, nothing),
    "retry now": ({}, {}, retry_now),
    "key": ({"workers_per_key": 1}, {}, nothing),
    "drain": ({}, {}, drain),
    "own messages": ({}, {}, nothing),
    "pause": ({}, {}, pause),
    "terminate": ({}, {}, terminate),
    "rate": ({"rate": (1, "30 s")}, {}, nothing),
    "on_error": ({"on_error": note}, {}, nothing),
    "put again": ({}, {}, Item.put),
    "crash": ({}, {}, crash),
}


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@pytest.mark.parametrize("order", ["in order", "reversed"])
@pytest.mark.parametrize("pair", [*combinations(FEATURES, 2)], ids=" x ".join)
def test_a_pair_of_features_leads_an_item_to_the_fate_of_both(
    pair: tuple[str, str], order: str, store: str, tmp_path: Path
) -> None:
    """It is done, unless a caller deleted it while it waited, or its work fails: then `on_error` takes it."""
    definition, at_put = dict[str, Any](), dict[str, Any]()
    for name in pair:
        definition |= FEATURES[name][0]
        at_put |= FEATURES[name][1]
    images, job = Flaky(), pool_with(**definition)
    fails, flaky, parent = "on_error" in pair, "retry now" in pair, "own messages" in pair
    url = f"{'bad' if fails else 'flaky' if flaky else 'good'}{' parent' if parent else ''}"
    with World(App(images).with_jobs(job), store="memory://" if store == "memory" else tmp_path / "jobs.db") as world:
        item = Item(world, world.handle(job), url, put_options=at_put)
        if pair[0] == "hold" or pair[1] == "hold":
            hold(item)
        world.run(item.pool.put("b", Picture("ann", "b")))  # before it in its line, and in the window of the rate
        item.put()
        world.settle()
        for name in pair if order == "in order" else reversed(pair):
            FEATURES[name][2](item)
            world.settle()
        world.run(item.pool.release())
        world.advance("10 minutes")
        outcome = world.run(item.pool.outcome("a"))
        if not item.there:
            assert outcome is None
        elif fails:
            assert outcome is None
            assert "failed a" in images.urls
        else:
            assert outcome == Done(value=f"small {url}")
        child = world.run(item.pool.outcome("a-child"))
        if parent and item.there:
            assert child == (None if fails else Done(value="small child"))
        drained = "drain" in pair
        assert drained or world.run(item.pool.outcome("b")) == Done(value="small b")
        assert world.run(item.pool.progress()).waiting == 0
