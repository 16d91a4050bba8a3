"""Collects the nondeterministic inputs of one turn."""

from __future__ import annotations

from typing import Literal

import attrs

from perdure.engine.item import Item
from perdure.engine.tracing import Tracing, turn_begun
from perdure.runtime.record import Runtime
from perdure.stores.store import Store
from perdure.values.address import Address
from perdure.values.decoded import Decoded
from perdure.values.hold import Hold
from perdure.values.limits import Limits
from perdure.values.other_engines import NO_OTHERS, OtherEngines
from perdure.values.transition import Loaded
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
    decoded: Decoded | None = None,
    others: OtherEngines = NO_OTHERS,
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
        decoded: the decoded state of the row, if it is kept.
        others: the other engines that share the store.
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
        decoded=decoded,
        others=others,
    )


def traced_inputs(tracing: Tracing, address: Address, item: Item, loaded: Loaded, inputs: TurnInputs) -> TurnInputs:
    """Begin the trace of a turn, unless it began before a conflict, and return the inputs with its context.

    Args:
        tracing: traces turns.
        address: the instance.
        item: the request.
        loaded: the stored instance.
        inputs: the inputs of the turn.
    """
    if item.span is None:
        turn = turn_begun(address, item.request, loaded.instance, inputs)
        item.span = None if turn is None else tracing.begin(turn)
    context = None if item.span is None else item.span.context
    return inputs if context is None else attrs.evolve(inputs, trace=context)
