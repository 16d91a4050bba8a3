"""Hundreds of delayed items that become due at one instant: order, turns of their keys, and room for others."""

from __future__ import annotations

from pathlib import Path

import pytest
from pool import Images, Picture, app_of, pool_of

from perdure.jobs.definition import AnyDefinition
from perdure.testing import Delay, World

DUE_TOGETHER = 300
WORKERS = 4
ALWAYS = 10**6


def put_all(world: World, job: AnyDefinition) -> list[str]:
    """Put the items of one customer, and a few of two others last; all are due in an hour."""
    customers = ["ann"] * DUE_TOGETHER + ["bob"] * 3 + ["cid"] * 3
    urls = [f"{customer} {number}" for number, customer in enumerate(customers)]
    items = [(url, Picture(url[:3], url)) for url in urls]
    world.run(world.handle(job).put_many(items, after="1 hour"))
    return urls


def incarnation_of(world: World, job: AnyDefinition, url: str) -> int:
    """Return the place of an item among those that were put in the same millisecond."""
    instance = world.instance(job, url)
    assert instance is not None
    return instance.incarnation


@pytest.mark.parametrize("crash", ["none", "while they enter the line"])
@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_items_that_are_due_at_one_instant_take_turns_in_the_order_of_their_keys(
    store: str, crash: str, tmp_path: Path
) -> None:
    images, job = Images(), pool_of(workers=WORKERS)
    place = "memory://" if store == "memory" else tmp_path / "jobs.db"
    # In groups, as a real store gets them: single commits are answered in any order, and idle workers do not wait for
    # the earlier items of the same instant.
    with World(app_of(images, job), store=place, requests="grouped") as world:
        world.inject(Delay("shrink", "1 second", times=ALWAYS))
        urls = put_all(world, job)
        numbers = {url: incarnation_of(world, job, url) for url in urls}
        world.advance("1 hour")
        if crash != "none":
            world.crash()
            world.open()
            world.inject(Delay("shrink", "1 second", times=ALWAYS))
        world.run(world.handle(job).put("dan 0", Picture("dan", "dan 0")))
        world.advance("10 seconds")
        begun = images.urls
        others = ("bob", "cid", "dan")
        first = {name: next(n for n, url in enumerate(begun) if url.startswith(name)) for name in others}
        again = WORKERS if crash != "none" else 0
        assert max(first.values()) <= again + 3 * WORKERS, first
        world.advance(f"{DUE_TOGETHER} seconds")
        begun_once = list(dict.fromkeys(images.urls))
        for customer in ("ann", "bob", "cid"):
            order = [numbers[url] for url in begun_once if url.startswith(customer)]
            moved = [abs(place - order.index(number)) for place, number in enumerate(sorted(order))]
            assert max(moved) < 2 * WORKERS  # those that are claimed together begin in any order
        assert set(images.urls) == {*urls, "dan 0"}
        assert len(images.urls) <= len(urls) + 1 + again
