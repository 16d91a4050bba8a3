"""The dry run of a request in a test: the transition itself as a value, without an engine or a store."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

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
from perdure.values.instant import to_ms
from perdure.values.limits import Limits
from perdure.values.transition import Loaded
from perdure.values.turn_inputs import TurnInputs

T = TypeVar("T")


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
) -> Explanation:
    """Compute what a request would do to an instance, as ``jobs.explain`` does, with no engine and no store.

    Args:
        definition: the job.
        id_: the instance.
        request: what the job would be told, such as ``lambda order: order.send(event)``; or ``"alarm"``, ``"pause"``,
            ``"resume"``.
        instance: what is stored: that of an earlier explanation, or the one of a stage; None: there is none yet.
        answers: what services would answer, by the name of the effect or as a function of the call.
        now: what the clock shows, an aware instant.
        limits: the engine's bounds.

    Raises:
        InvalidId: the id is not usable.
        InvalidInput: the input is not of its declared type.
        DefinitionError: the function asks for nothing, or for more than one thing.
    """
    address = definition.address(check_id(id_))
    asked = request_of(definition, request, key=None, max_bytes=limits.payload_bytes)
    inputs = TurnInputs(now_ms=to_ms(now, what="now of explain"), jitter=0.5, id_base=_IDS, epoch=1, limits=limits)
    return explain_turn(definition, address, Loaded(instance=instance), asked, inputs=(inputs,), answers=answers)


def explained(
    definition: Definition[Any, T, Any],
    id_: str,
    request: Asked[T],
    /,
    *,
    instance: Instance | None = None,
    answers: Answers = NO_ANSWERS,
    now: datetime = START,
    limits: Limits = Limits(),
) -> Explained:
    """Compute what a request would do, where nothing is missing to say it; the arguments are those of `explain`.

    Raises:
        AssertionError: it stopped; the message says what to answer.
    """
    found = explain(definition, id_, request, instance=instance, answers=answers, now=now, limits=limits)
    match found:
        case Explained():
            return found
        case NeedsAnswer(effect=effect, args=args, kwargs=kwargs):
            shown = ", ".join([repr(value) for value in args] + [f"{name}={value!r}" for name, value in kwargs.items()])
            raise AssertionError(f"nobody said what {effect}({shown}) answers: answers={{{effect!r}: Success(...)}}")
        case WaitsForRun(run_id=run_id):
            raise AssertionError(f"the request would wait for the run {run_id!r}, which the instance is claimed for")


_IDS = 0x019B_6F5E_0000_7000_8000_0000_0000_0000
"""Where ids count up from: a UUIDv7 of the first moment of 2026."""
