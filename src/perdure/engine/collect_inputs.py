"""Draws the facts of one decision from the world."""

from __future__ import annotations

from perdure.runtime.record import Runtime
from perdure.stores.store import Store
from perdure.values.limits import Limits
from perdure.values.turn_inputs import TurnInputs


def collect_inputs(runtime: Runtime, store: Store, limits: Limits, *, running: tuple[str, ...] = ()) -> TurnInputs:
    """Look at the clock, throw the dice and take an id.

    Args:
        runtime: where they come from.
        store: whose ownership the decision is made under.
        limits: the engine's bounds.
        running: the ids of the instance's runs that are in progress in this process.
    """
    return TurnInputs(
        now_ms=runtime.now_ms(),
        jitter=runtime.random(),
        id_base=runtime.new_id(),
        epoch=store.epoch,
        running=running,
        limits=limits,
    )
