"""A pool's rates hold over all engines of a shared store: also over kills, and over stalls and partitions."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Literal

import pytest
from pool import Images, Picture, app_of, pool_of

from perdure.testing.cluster import Cluster

WINDOW_MS, RUNS, RUNS_OF_KEY = 10_000, 4, 2

ITEMS, KEYS = 12, ("ann", "bob", "cat")

LATENCY_MS = 100
"""The way of a run from the moment in which it is counted to its service, and of the store's time to an engine."""

Trouble = Literal["none", "kills", "delays"]


def most_in_a_window(begun: list[int], window_ms: int) -> int:
    return max((sum(start <= at < start + window_ms for at in begun) for start in begun), default=0)


def trouble_for(cluster: Cluster, kind: Trouble, chance: random.Random) -> None:
    """Kill an engine and open another one, or delay one for at most three seconds."""
    up = cluster.up
    if kind == "none" or len(up) < 2 or chance.random() < 0.5:
        return
    engine = up[chance.randrange(len(up))]
    if kind == "kills":
        engine.crash()
        cluster.begin()
    elif chance.random() < 0.5:
        engine.freeze(f"{chance.randrange(3_000)} ms")
    else:
        engine.cut_off(f"{chance.randrange(3_000)} ms")


def begun_over_engines(kind: Trouble, seed: int) -> tuple[dict[str, list[int]], int]:
    """Return when the items of all keys, and those of each, called their service; and how many are done."""
    chance = random.Random(seed)  # noqa: S311 - a seed reproduces the history
    images, begun = Images(), defaultdict[str, list[int]](list)
    job = pool_of(workers=6, rate=(RUNS, "10 s"), rate_per_key=(RUNS_OF_KEY, "10 s"))
    with Cluster(app_of(images, job), seed=seed) as cluster:

        def heard(url: str) -> None:
            begun[""].append(cluster.now_ms)
            begun[url[:3]].append(cluster.now_ms)

        images.heard = heard
        engines = [cluster.open() for _ in range(3)]

        for number in range(ITEMS):
            picture = Picture(KEYS[number % 3], f"{KEYS[number % 3]}-{number}")
            cluster.run_on(
                engines[number % 3],
                lambda client, number=number, picture=picture: client.handle(job).put(f"i{number}", picture),
            )
        for _ in range(10):
            trouble_for(cluster, kind, chance)
            cluster.advance(f"{chance.randrange(1, 6_000)} ms")
        cluster.advance("45 s")
        done = sum(row.status == "done" for row in cluster.instances())
    return begun, done


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("kind", "late_ms"), [("none", LATENCY_MS), ("kills", LATENCY_MS), ("delays", 3_600)])
def test_no_window_holds_more_runs_than_the_rates_over_all_engines(kind: Trouble, late_ms: int, seed: int) -> None:
    begun, done = begun_over_engines(kind, seed)
    assert most_in_a_window(begun[""], WINDOW_MS - late_ms) <= RUNS, begun
    assert all(most_in_a_window(begun[key], WINDOW_MS - late_ms) <= RUNS_OF_KEY for key in KEYS), begun
    assert done == ITEMS
    if kind == "none":
        assert most_in_a_window(begun[""], 1_000) == RUNS  # a rate is used up, by all engines together
        # Four at a time, two of a key, in any order of keys: 12 items need at most four windows.
        assert max(begun[""]) - min(begun[""]) <= 3 * WINDOW_MS + 3_000, begun
