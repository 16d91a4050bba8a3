"""The nondeterministic inputs of decisions beside turns; and those of a turn with the context of its trace."""

from __future__ import annotations

import attrs

from perdure.engine.item import Item
from perdure.engine.tracing import Tracing, turn_begun
from perdure.runtime.record import Runtime
from perdure.stores.contract import Store
from perdure.values.address import Address
from perdure.values.limits import Limits
from perdure.values.status import Hold
from perdure.values.transition import Loaded
from perdure.values.turn_inputs import TurnInputs


def inputs_beside_turns(
    runtime: Runtime, store: Store, limits: Limits, *, running: tuple[str, ...] = (), hold: Hold = "released"
) -> TurnInputs:
    """Read the clock, draw a random value and create an id, for a decision that is no turn of an instance.

    Args:
        runtime: the source of all three.
        store: provides the epoch of its ownership.
        limits: the engine's limits.
        running: the ids of the instance's runs that are in progress in this process.
        hold: whether runs of the job may begin.
    """
    return TurnInputs(
        now_ms=runtime.now_ms(),
        jitter=runtime.random(),
        id_base=runtime.new_id(),
        epoch=store.epoch,
        running=running,
        limits=limits,
        hold=hold,
        reads=store.reads,
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
