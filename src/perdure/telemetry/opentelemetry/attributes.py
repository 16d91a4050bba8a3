"""The attributes of spans: the messaging conventions of OpenTelemetry, and ``perdure.*``."""

from __future__ import annotations

from typing import Final, TypeAlias

from perdure.engine.sinks import EffectBegun, TurnBegun
from perdure.values.address import Address
from perdure.values.failure import FailureRecord
from perdure.values.instance import Claim

Attributes: TypeAlias = dict[str, str | int]

SYSTEM: Final = "perdure"


def name_of_turn(turn: TurnBegun) -> str:
    """Return the name of a turn's span: the operation and the destination."""
    return f"{turn.action} {job_of(turn.address)}"


def job_of(address: Address) -> str:
    """Return a job as the destination of messages."""
    return f"{address.kind}:{address.name}"


def of_turn(turn: TurnBegun) -> Attributes:
    """Return what is known when a turn begins."""
    attributes: Attributes = {
        "messaging.system": SYSTEM,
        "messaging.operation.name": turn.action,
        "messaging.operation.type": "process",
        "messaging.destination.name": job_of(turn.address),
        "perdure.cause": turn.cause,
        **of_instance(turn.address),
    }
    if turn.message_id is not None:
        attributes["messaging.message.id"] = str(turn.message_id)
    if turn.sender is not None:
        attributes["perdure.sender"] = turn.sender
    return attributes


def of_instance(address: Address) -> Attributes:
    """Return the parts of an address."""
    return {"perdure.kind": address.kind, "perdure.job": address.name, "perdure.id": address.id}


def of_run(claim: Claim) -> Attributes:
    """Return the run of a claim."""
    return {"perdure.run_id": claim.run_id, "perdure.attempt": claim.attempt, "perdure.delivery": claim.deliveries}


def of_effect(effect: EffectBegun) -> Attributes:
    """Return what is known when an effect begins."""
    return {"perdure.effect": effect.name, **of_instance(effect.address), **of_run(effect.claim)}


def of_exception(failure: FailureRecord) -> Attributes:
    """Return the attributes of the event ``exception``."""
    attributes: Attributes = {"exception.type": failure.error_type, "exception.message": failure.message}
    if failure.traceback is not None:
        attributes["exception.stacktrace"] = failure.traceback
    return attributes
