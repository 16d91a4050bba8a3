"""The dry run of a request in a test: returns its transition as a value, without an engine or a store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar, overload

from perdure.jobs.definition import Definition
from perdure.jobs.explanation import (
    NO_ANSWERS,
    Answers,
    Asked,
    Explained,
    Explanation,
    NeedsAnswer,
    WaitsForRun,
    request_of,
)
from perdure.jobs.explanation import explain as explain_turn
from perdure.testing.simulation.hook_context import START
from perdure.values.address import check_id
from perdure.values.instance import Instance
from perdure.values.limits import Limits
from perdure.values.times import to_ms
from perdure.values.transition import Loaded
from perdure.values.turn_inputs import TurnInputs

T = TypeVar("T")


@overload
def explain(
    definition: Definition[Any, T, Any],
    id_: str,
    request: Asked[T],
    /,
    *,
    instance: Instance | None = ...,
    answers: Answers = ...,
    now: datetime = ...,
    limits: Limits = ...,
    journal: Sequence[str] = ...,
    strict: Literal[False] = ...,
) -> Explanation: ...
@overload
def explain(
    definition: Definition[Any, T, Any],
    id_: str,
    request: Asked[T],
    /,
    *,
    instance: Instance | None = ...,
    answers: Answers = ...,
    now: datetime = ...,
    limits: Limits = ...,
    journal: Sequence[str] = ...,
    strict: Literal[True],
) -> Explained: ...
def explain(
    definition: Definition[Any, T, Any],
    id_: str,
    request: Asked[T],
    /,
    *,
    instance: Instance | None = None,
    answers: Answers = NO_ANSWERS,
    now: datetime = START,
    limits: Limits = Limits(),
    journal: Sequence[str] = (),
    strict: bool = False,
) -> Explanation:
    """Compute the effect of a request on an instance, as ``client.explain`` does, with no engine and no store.

    Args:
        definition: the job.
        id_: the instance.
        request: the request, such as ``lambda order: order.send(event)``; or ``"alarm"``, ``"pause"``, ``"resume"``.
        instance: the stored instance: that of an earlier explanation, or the one of a hook context; None: none yet.
        answers: the services' answers, by the name of the effect or as a function of the call.
        now: the wall clock, an aware instant.
        limits: the engine's limits.
        journal: the rows of the instance's journal, for a kind that keeps one.
        strict: raise instead of returning an explanation that stopped: `NeedsAnswer` or `WaitsForRun`.

    Raises:
        InvalidId: the id is not valid.
        InvalidInput: the input does not have its declared type.
        DefinitionError: the function makes no request, or more than one.
        AssertionError: with ``strict``: the explanation stopped; the message says which answer is missing.
    """
    address = definition.address(check_id(id_))
    asked = request_of(definition, request, key=None, max_bytes=limits.payload_bytes)
    inputs = TurnInputs(now_ms=to_ms(now, what="now of explain"), jitter=0.5, id_base=_IDS, epoch=1, limits=limits)
    loaded = Loaded(instance=instance)
    found = explain_turn(definition, address, loaded, asked, inputs=(inputs,), answers=answers, journal=journal)
    return _complete(found) if strict else found


def _complete(found: Explanation) -> Explained:
    match found:
        case Explained():
            return found
        case NeedsAnswer(effect=effect, args=args, kwargs=kwargs):
            shown = ", ".join([repr(value) for value in args] + [f"{name}={value!r}" for name, value in kwargs.items()])
            raise AssertionError(f"no answer for {effect}({shown}); pass answers={{{effect!r}: Success(...)}}")
        case WaitsForRun(run_id=run_id):
            raise AssertionError(f"the request would wait for the run {run_id!r}, which holds the instance's claim")


_IDS = 0x019B_6F5E_0000_7000_8000_0000_0000_0000
"""The base of the ids: a UUIDv7 of the first moment of 2026."""
