"""Requests as values: drawn by a state machine, and recorded with their results."""

from __future__ import annotations

from typing import Any

import attrs
from returns.result import Result

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import PAUSE, RESUME, TERMINATE, CommandSpec, Request
from perdure.values.limits import Limits

NO_INPUT = None


@attrs.frozen
class DrawnRequest:
    """A drawn request.

    Attributes:
        action: the command, by name.
        id: the instance.
        input: the input of the command; None when it takes none.
    """

    action: str
    id: str
    input: Any = NO_INPUT  # of the command's own type

    def __repr__(self) -> str:
        taken = "" if self.input is NO_INPUT else f", {self.input!r}"
        return f"{self.action}({self.id!r}{taken})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001 - as Hypothesis and IPython call it
        printer.text(repr(self))


@attrs.define
class SentRequest:
    """A request that was made, with its key and its result; None: not yet known, or unknown."""

    ask: DrawnRequest
    key: str
    at_ms: int
    result: Result[Any, Any] | None = None  # of any command, or a CallError


def spec_of(job: AnyDefinition, action: str) -> CommandSpec[Any]:
    """Return a command of a job."""
    shared = {spec.name: spec for spec in (TERMINATE, PAUSE, RESUME)}
    return {**shared, **job.plan.commands}[action]


def request_of(job: AnyDefinition, ask: DrawnRequest, key: str, limits: Limits) -> Request:
    """Return the request, as a typed handle builds it.

    Raises:
        InvalidInput: the input does not have the command's type.
    """
    spec = spec_of(job, ask.action)
    if spec.input is None:
        return Request(command=spec.command(), action=ask.action, idempotency_key=key)
    payload = job.encode_input(ask.action, ask.input, limits.payload_bytes)
    return Request(command=spec.command(ask.input), action=ask.action, payload=payload, idempotency_key=key)
