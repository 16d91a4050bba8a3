"""The actions of the dashboard: each is a call of the client, and its outcome is a line of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import orjson
from returns.result import Result, Success

from perdure.client.client import Client
from perdure.dashboard.actions import REASONS, Action
from perdure.dashboard.requests import ActionOutcome
from perdure.jobs.call import result_of
from perdure.values.address import Address
from perdure.values.errors import PerdureError
from perdure.wire.readable_answer import readable_answer


async def send(
    client: Client, address: Address, action: Action, payload: str, key: str, *, by: str, reason: str = ""
) -> ActionOutcome:
    """Send a request to an instance, without waiting for the run that it starts.

    Args:
        client: of the engine.
        address: the instance.
        action: the request.
        payload: its input as JSON; empty if it takes none.
        key: the idempotency key: a form that is sent twice counts once.
        by: the caller's name.
        reason: the caller's reason, for an action that takes one; by default it names the caller.
    """
    if action.takes == "reason" and not payload:
        payload = orjson.dumps(reason or f"{REASONS[action.name]} on the dashboard by {by}").decode()
    subject = f"{action.name} {address}"
    try:
        call = client.handle_by_name(address.kind, address.name).call(
            action.name, address.id, payload, idempotency_key=key or None, wait_for="start"
        )
        result: Result[Any, PerdureError] = await result_of(call)
    except PerdureError as error:
        return ActionOutcome(subject=subject, result=str(error), form="refused")
    if isinstance(result, Success):
        text = answer_text(readable_answer(address.kind, result.unwrap()))
        return ActionOutcome(subject=subject, result=text, form="done")
    return ActionOutcome(subject=subject, result=str(result.failure()), form="refused")


async def redrive(client: Client, numbers: Sequence[int]) -> tuple[ActionOutcome, ...]:
    """Deliver dead letters again, in their order."""
    outcomes: list[ActionOutcome] = []
    for number in sorted(numbers):
        result: Result[Any, PerdureError] = await result_of(client.redrive(number))
        answer = result.unwrap() if isinstance(result, Success) else str(result.failure())
        form = "done" if answer == "redriven" else "refused"
        outcomes.append(ActionOutcome(subject=f"redrive #{number}", result=str(answer).replace("_", " "), form=form))
    return tuple(outcomes)


def answer_text(answer: object) -> str:
    """Return an answer as a line.

    >>> answer_text({"type": "PauseResult", "changed": True, "status": "paused", "outcome": None})
    'changed: yes, status: paused'
    """
    if not isinstance(answer, dict):
        return str(answer)
    members = cast("dict[str, object]", answer)
    words = {True: "yes", False: "no"}
    shown = ((name, words.get(value, value) if isinstance(value, bool) else value) for name, value in members.items())
    return ", ".join(
        f"{name.replace('_', ' ')}: {_short(value)}" for name, value in shown if value is not None and name != "type"
    )


def _short(value: object) -> str:
    return str(cast("dict[str, object]", value).get("form") if isinstance(value, dict) else value)
