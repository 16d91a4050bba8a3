"""Every healthy history of a pool ends without an operator: each item is done, parked or gone, whatever was drawn.

Limits, pages, workers and rates are small, so that the histories cross them.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pool import Images, Picture, pool_of
from postgres_harness import EMPTY_SCHEMA
from small_limits import ONES, TWOS, cache_bytes, limits, requests, sizes

from perdure import App, Limits
from perdure.runtime.record import DEFAULT_SIZES, Sizes
from perdure.testing import WorkerDied, World
from perdure.testing.world.boundary import Requests
from perdure.testing.world.world import with_sizes

Step = tuple[str, int]

small = st.integers(2, 5)
options = st.fixed_dictionaries(
    {
        "workers": small,
        "workers_per_key": st.sampled_from([None, 1, 2]),
        "rate": st.sampled_from([None, (2, "5 s"), (5, "1 s")]),
        "rate_per_key": st.sampled_from([None, (2, "5 s")]),
        "keep": st.sampled_from(["0 ms", None]),
    }
)
CALLS = ("put", "put bad", "put later", "put ahead", "put again", "pause", "resume", "trigger", "cancel", "terminate")
OF_ITEM = ("put again", "pause", "resume", "trigger", "cancel", "terminate")
WORLD = ("hold", "release", "restart", "crash", "crash after", "wait")
steps = st.lists(st.tuples(st.sampled_from((*CALLS, *CALLS, *WORLD)), st.integers(0, 30)), max_size=25)


def play(world: World, job: Any, given_: list[Step]) -> None:
    """Play a history; each pause is resumed at its end, and a held pool is released."""
    pool, put = world.handle(job), list[str]()

    def new(number: int, url: str, **when: Any) -> Any:
        put.append(f"{'abcdef'[number % 6]}{len(put)}")
        return pool.put(put[-1], Picture(put[-1][0], url), **when)

    calls: dict[str, Callable[[int, str], Any]] = {
        "put": lambda number, _: new(number, "good"),
        "put bad": lambda number, _: new(number, "bad"),
        "put later": lambda number, _: new(number, "good", after=f"{number} s"),
        "put ahead": lambda number, _: new(number, "good", head_start=f"{number} s"),
        "put again": lambda _, id_: pool.put(id_, Picture(id_[0], "good"), idempotency_key=id_),
        "hold": lambda _, __: pool.hold(),
        "release": lambda _, __: pool.release(),
    }
    moves: dict[str, Callable[[int], object]] = {
        "restart": lambda _: world.restart(),
        "crash": lambda _: world.crash(),
        "crash after": world.crash_after,
        "wait": lambda number: world.advance(f"{100 * number} ms"),
    }
    for step, number in given_:
        with suppress(WorkerDied):
            id_ = put[number % len(put)] if put else "none"
            if step in OF_ITEM and not put:
                continue
            if step in calls:
                world.start(calls[step](number, id_))
            elif step in CALLS:
                world.start(getattr(pool, step)(id_))
            else:
                moves[step](number)
        if not world.is_open:
            world.open()
    world.cancel_crash()
    world.settle()
    world.run(pool.release())
    for id_ in put:
        if world.run(pool.status(id_)).status == "paused":
            world.run(pool.resume(id_))


def paged(world: World, job: Any, size: int) -> list[str]:
    """Return the ids of all items, read page by page."""
    page = world.run(world.jobs.list(job, limit=size))
    found = [each.address.id for each in page]
    while page.after is not None:
        page = world.run(world.jobs.list(job, limit=size, after=page.after))
        assert len(page) <= size
        found += [each.address.id for each in page]
    return found


CROWD: list[Step] = [("hold", 0), *[("put", number) for number in range(12)], ("crash", 0), ("release", 0), ("put", 3)]


@pytest.mark.parametrize("store", ["memory", "sqlite", "postgres"])
@settings(max_examples=25)
@given(
    limits=limits,
    sizes=sizes,
    requests=requests,
    options=options,
    given_=steps,
    seed=st.integers(0, 99),
    size=small,
    cache=cache_bytes,
)
@example(
    limits=Limits(queued_items=2, lane_page=2, recovery_page=2),
    sizes=DEFAULT_SIZES,
    requests="single",
    options={"workers": 2, "workers_per_key": 1},
    given_=CROWD,
    seed=0,
    size=2,
    cache=0,
)
@example(
    limits=Limits(queued_items=2, lane_page=2, recovery_page=2),
    sizes=ONES,
    requests="grouped",
    options={"workers": 2, "workers_per_key": 1, "rate_per_key": (2, "5 s")},
    given_=CROWD,
    seed=0,
    size=2,
    cache=0,
)
@example(
    limits=Limits(),
    sizes=TWOS,
    requests="grouped",
    options={"workers": 5, "rate": (5, "1 s")},
    given_=CROWD,
    seed=0,
    size=2,
    cache=4_000,
)
@example(  # lanes whose rate is met for the first time, and nothing else wakes the feeder
    limits=Limits(concurrency=4, queued_items=5, lane_page=3, recovery_page=5, alarm_batch=5),
    sizes=DEFAULT_SIZES,
    requests="single",
    options={"workers": 4, "workers_per_key": 2, "rate": (2, "5 s"), "rate_per_key": (2, "5 s"), "keep": None},
    given_=[
        *[("put ahead", 2), ("put later", 4), ("resume", 30), ("put again", 7), ("crash", 0), ("put ahead", 8)],
        *[("put again", 15), ("crash after", 30), ("put ahead", 12), ("hold", 23), ("pause", 26), ("put", 2)],
        *[("put ahead", 19), ("put bad", 17), ("resume", 17), ("put ahead", 11), ("put bad", 30), ("hold", 29)],
        *[("put ahead", 23), ("trigger", 21), ("put ahead", 26), ("release", 23)],
    ],
    seed=0,
    size=5,
    cache=0,
)
def test_every_healthy_history_ends_without_an_operator(
    *,
    store: str,
    limits: Limits,
    sizes: Sizes,
    requests: Requests,
    options: dict[str, Any],
    given_: list[Step],
    seed: int,
    size: int,
    cache: int,
) -> None:
    job = pool_of(**options)
    with tempfile.TemporaryDirectory() as folder:
        places = {"memory": "memory://", "sqlite": f"sqlite:///{folder}/jobs.db?durability=relaxed&cache={cache}"}
        at = places[store] if store in places else f"{EMPTY_SCHEMA.url()}&cache={cache}"
        app = App(Images(), limits=limits).with_jobs(job)
        with with_sizes(World(app, store=at, seed=seed, requests=requests), sizes) as world:
            play(world, job, given_)
            world.advance("10 minutes")
            left = Counter(row.status for row in world.instances() if row.status not in ("done", "parked"))
            assert left == {}
            assert paged(world, job, size) == sorted(row.address.id for row in world.instances())
