"""Collects the nondeterministic inputs of one turn."""

from __future__ import annotations

from typing import Literal

from perdure.runtime.record import Runtime
from perdure.stores.store import Store
from perdure.values.hold import Hold
from perdure.values.limits import Limits
from perdure.values.turn_inputs import TurnInputs


def collect_inputs(
    runtime: Runtime,
    store: Store,
    limits: Limits,
    *,
    running: tuple[str, ...] = (),
    code: Literal["trusted", "suspect"] = "trusted",
    events: Literal["wanted", "unread"] = "wanted",
    hold: Hold = "released",
) -> TurnInputs:
    """Read the clock, draw a random value and create an id.

    Args:
        runtime: the source of all three.
        store: provides the epoch of its ownership.
        limits: the engine's limits.
        running: the ids of the instance's runs that are in progress in this process.
        code: whether all code of jobs must be claimed before it runs.
        events: whether the log keeps events or a sink reads them.
        hold: whether runs of the job may begin.
    """
    return TurnInputs(
        now_ms=runtime.now_ms(),
        jitter=runtime.random(),
        id_base=runtime.new_id(),
        epoch=store.epoch,
        running=running,
        limits=limits,
        code=code,
        events=events,
        hold=hold,
    )
