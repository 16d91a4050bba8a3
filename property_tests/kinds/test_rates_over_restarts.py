"""No window holds more runs than the rates allow, whatever crashes, and no restart stops a rate."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pool import HasImages, Images, Picture, Unreachable, app_of, customer, shrink

from perdure import Do, ItemContext, WorkerPool, program
from perdure.programs import sleep
from perdure.testing import WorkerDied, World

WINDOW_MS, RUNS, RUNS_OF_KEY = 10_000, 3, 2


@program
def slowly(ctx: ItemContext[Picture]) -> Do[str, Unreachable, HasImages]:
    """Call the service at once, and take a while if the url says so: after its third delivery, alone."""
    picture = yield from ctx.item
    small = yield from shrink(ctx.run_id, picture.url)
    if "slow" in picture.url:
        yield from sleep("2 s")
    return small


job = WorkerPool(
    "slow",
    item=Picture,
    work=slowly,
    key=customer,
    workers=4,
    rate=(RUNS, "10 s"),
    rate_per_key=(RUNS_OF_KEY, "10 s"),
)

lives = st.lists(
    st.tuples(st.integers(1, 60), st.integers(0, 4), st.integers(0, 12_000), st.booleans()), min_size=1, max_size=5
)


def holds(begun: list[int], runs: int, window_ms: int) -> bool:
    return all(sum(start <= at < start + window_ms for at in begun) <= runs for start in begun)


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@settings(max_examples=50)
@given(given_=lives, seed=st.integers(0, 99))
@example(given_=[(17, 1, 0, True), (1, 1, 0, False)], seed=1)  # two writes of one entry at the same time
@example(given_=[(9, 4, 100, True), (9, 0, 100, True), (9, 0, 100, True)], seed=0)
@example(given_=[(60, 4, 9_000, False)] * 5, seed=0)
@example(given_=[(17, 1, 0, True), (11, 2, 0, False)], seed=0)
def test_no_window_holds_more_runs_than_the_rates_whatever_crashes(
    store: str, given_: list[tuple[int, int, int, bool]], seed: int
) -> None:
    begun: defaultdict[str, list[int]] = defaultdict(list)
    images = Images()
    with tempfile.TemporaryDirectory() as folder:
        at = "memory://" if store == "memory" else Path(folder) / "jobs.db"
        with World(app_of(images, job), store=at, seed=seed, interleaving="operations") as world:

            def heard(url: str) -> None:
                begun[""].append(world.now_ms)
                begun[url[:3]].append(world.now_ms)

            images.heard = heard
            pool, number = world.handle(job), 0
            for points, puts, pause_ms, slow in given_:
                with suppress(WorkerDied):
                    world.crash_after(points)
                    for key in ("ann", "bob") * puts:
                        number += 1
                        url = f"{key}-{number}{'-slow' * slow}"
                        world.attempt(pool.put(url, Picture(key, url)))
                    world.advance(f"{pause_ms} ms")
                world.cancel_crash()
                world.clear_faults()
                if world.is_open:
                    world.restart()
                else:
                    world.open()
            world.advance("5 minutes")
            assert holds(begun[""], RUNS, WINDOW_MS), begun
            assert all(holds(begun[key], RUNS_OF_KEY, WINDOW_MS) for key in ("ann", "bob")), begun
            assert world.run(pool.progress()).waiting == 0
