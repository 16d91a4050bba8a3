"""A state machine drives a pool: any calls, any times, faults and crashes, on both stores."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from pool import Images, pool_of

from perdure import PoolBatch
from perdure.kinds.worker_pool.items import data_of
from perdure.testing import InstanceView, JobMachine

DAY = datetime(2026, 1, 1)  # noqa: DTZ001 - the time zone is drawn

pool = pool_of(workers=2, workers_per_key=1, rate=(5, "1 s"))


def an_item_has_one_place(view: InstanceView) -> bool:
    """It waits in its lane or for an instant, is worked on, is done, or is parked: only one of them."""
    row = view.instance
    if row.ended_ms is not None:
        return row.lane is None and row.claim is None and row.pending_retry is None and data_of(row).result is not None
    return row.lane in (None, data_of(row).key) and data_of(row).result is None


OPTIONS = {
    "job": pool,
    "services": Images,
    "types": {
        str: st.sampled_from(["0ms", "1s", "bad", "1 minute"]),
        datetime: st.datetimes(DAY, DAY + timedelta(days=1), timezones=st.just(UTC)),
    },
    "invariants": (an_item_has_one_place,),
    "durations": ("1 ms", "1 s", "1 minute", "1 hour"),
}

in_memory = JobMachine(**OPTIONS)
TestPool = in_memory.TestCase
TestPool.settings = settings(TestPool.settings, max_examples=60, stateful_step_count=25)

on_disk = JobMachine(**OPTIONS, store="sqlite", interleaving="operations")
TestPoolOnDisk = on_disk.TestCase
TestPoolOnDisk.settings = settings(TestPoolOnDisk.settings, max_examples=20, stateful_step_count=20)

watching = JobMachine(
    job=PoolBatch("watching", pool=pool),
    services=Images,
    beside=(pool,),
    types={str: st.sampled_from(["0ms", "1s", "bad", "1 minute"])},
    commands=("watch_pool", "put", "seal", "pause", "resume", "terminate"),
    durations=("1 s", "1 minute", "1 hour"),
)
TestWatchedPool = watching.TestCase
TestWatchedPool.settings = settings(TestWatchedPool.settings, max_examples=30, stateful_step_count=20)
