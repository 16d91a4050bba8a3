"""A hold at one engine: the others begin no run behind it, and begin the waiting ones at its release."""

from __future__ import annotations

from crowd import plain
from hypothesis import given, settings
from hypothesis import strategies as st
from machine import Mark, OnAlarm, machine
from test_ended_elsewhere import Outside

from perdure import App
from perdure.testing.cluster import Cluster

NIGHTLY = settings.get_current_profile_name() == "nightly"
SOON_MS = 100
"""Some crossings of the boundary, and much less than the period in which engines read the held jobs."""


@settings(max_examples=300 if NIGHTLY else 10)
@given(st.integers(1, 9_000), st.integers(0, 99))
def test_a_hold_and_a_release_reach_all_engines_soon(after_ms: int, seed: int) -> None:
    outside = Outside()
    with Cluster(App(outside).with_jobs(machine), seed=seed) as cluster:
        engines = [cluster.open() for _ in range(3)]
        here = engines[0]
        cluster.advance(f"{after_ms} ms")
        cluster.run_on(here, lambda client: client.handle(machine).hold())
        cluster.advance(f"{SOON_MS} ms")
        for number in range(9):
            event = OnAlarm(1_000, (Mark(f"a{number}"),))
            cluster.run_on(
                engines[number % 3],
                lambda client, id_=f"{number}", event=event: client.handle(machine).send(id_, event),
            )
        cluster.advance("3 s")
        assert outside.heard == []
        cluster.run_on(here, lambda client: client.handle(machine).release())
        cluster.advance(f"{SOON_MS} ms")
        assert sorted(map(plain, outside.heard)) == [f"a{number}" for number in range(9)]
