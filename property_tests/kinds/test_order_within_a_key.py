"""Items of a key with one worker keep their order: none begins before the one before it has ended.

Whatever crashes, and however the clock of the computer jumps, also between two engines.

The services remember each call in a list outside of the worker, as an external system does.
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pool import Images, Picture, app_of, pool_of

from perdure.testing import Delay, Fail, WorkerDied, World
from perdure.values.errors import StoreUnavailable

KEYS = ("ann", "bob")

job = pool_of(workers=3, workers_per_key=1)

refusals = st.lists(st.integers(1, 12), max_size=2, unique=True)
jumps = st.sampled_from((0, -3_600, -2, 60))  # seconds
lives = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 3), refusals, jumps), min_size=1, max_size=4)

Life = tuple[int, int, list[int], int]
"""Crash points until the worker dies, items that are put three times, refused commits, and a jump of the clock."""


def in_order(urls: list[str]) -> bool:
    """Whether each item of a key was called, perhaps repeatedly, before the first call of the next one."""
    return all((called := [url for url in urls if url.startswith(key)]) == sorted(called) for key in KEYS)


def play(world: World, given_: list[Life], images: Images) -> list[str]:
    """Let workers die and put items; return the ids of those that were put."""
    pool, ids = world.handle(job), list[str]()

    def put(number: int) -> None:
        for _ in range(number):
            for key in KEYS:
                ids.append(f"{key}-{len(ids):03}")
                world.attempt(pool.put(ids[-1], Picture(key, ids[-1])))

    put(3)
    for points, more, refused, jump in given_:
        world.inject(Delay("shrink", "300 ms", times=2), *_refusals(refused))
        with suppress(WorkerDied):
            world.crash_after(points)
            put(more)
            world.advance("5 s")
        world.shift_wall_clock(timedelta(seconds=jump))
        world.cancel_crash()
        world.clear_faults()
        if not world.is_open:
            world.open()
        with suppress(WorkerDied):
            put(more)
    for _ in range(5):
        world.advance("30 s")
        assert in_order(images.urls), images.urls
    return ids


def _refusals(numbers: list[int]) -> list[Any]:
    return [Fail("store.commit", StoreUnavailable("commit", "no disk"), call=number) for number in numbers]


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@settings(max_examples=60)
@given(given_=lives, seed=st.integers(0, 99))
@example(given_=[(5, 1, [], 0)], seed=0)
@example(given_=[(5, 1, [], -3_600)], seed=0)
@example(given_=[(7, 2, [1], -2)], seed=0)
@example(given_=[(15, 2, [2, 3], 60)], seed=0)
def test_items_of_a_key_with_one_worker_keep_their_order_over_crashes(
    store: str, given_: list[Life], seed: int
) -> None:
    images = Images()
    with tempfile.TemporaryDirectory() as folder:
        at = "memory://" if store == "memory" else Path(folder) / "jobs.db"
        with World(app_of(images, job), store=at, seed=seed, interleaving="operations") as world:
            ids = play(world, given_, images)
            pool = world.handle(job)
            stored = {id_ for id_ in ids if world.run(pool.status(id_)).status != "not_found"}
            assert set(images.urls) == stored
            parked = [id_ for id_ in stored if world.run(pool.status(id_)).status != "done"]
            assert parked == []
