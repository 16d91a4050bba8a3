"""Requests: what somebody asks of an instance, as values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Literal, TypeAlias, TypeVar

import attrs

from perdure.codecs import Codec
from perdure.values.address import Address
from perdure.values.excerpt import fields_in_line
from perdure.values.turn_value import turn_value

C = TypeVar("C")

WaitFor: TypeAlias = Literal["completion", "start"]
"""When a call that runs user code returns: after the first attempt, or once the run is claimed."""


# ---------------------------------------------------------------- commands that every kind understands
@attrs.frozen
class Terminate:
    """Cancel the alarm and purge the instance."""

    __repr__ = fields_in_line

    reason: str = "terminated"
    when: Literal["after_run", "interrupt"] = "after_run"


@attrs.frozen
class Pause:
    """Hold alarms and retries."""


@attrs.frozen
class Resume:
    """Let a paused or parked instance go on."""


@attrs.frozen
class AlarmDue:
    """The instance is due. Sent by the engine alone."""


@attrs.frozen
class Recover:
    """A claim is left behind by a run that is not running any more. Sent by the engine alone."""


@attrs.frozen
class Redecode:
    """The instance was parked as undecodable: resume it if this code can read it. Sent by the engine alone."""


# ---------------------------------------------------------------- the commands of a kind
@attrs.frozen(kw_only=True)
class CommandSpec(Generic[C]):
    """One command of a kind: its name on the wire, its input, and what it does to an absent instance.

    Attributes:
        name: the action's name: ``start``, ``add``, ``send``.
        command: the class of the command.
        input: how its one input is encoded; None when it takes none.
        absent: whether the command may create the instance, or finds nothing.
    """

    __repr__ = fields_in_line

    name: str
    command: Callable[..., C]
    input: Codec[object] | None = None
    absent: Literal["creates", "not_found"] = "not_found"

    def build(self, payload: str) -> C:
        """Make the command from its encoded input.

        Raises:
            InvalidInput: the payload is not what the command takes.
        """
        return self.command() if self.input is None else self.command(self.input.decode(payload.encode()))


TERMINATE = CommandSpec(name="terminate", command=Terminate, input=Codec.of(str, what="reason of terminate"))
PAUSE = CommandSpec(name="pause", command=Pause)
RESUME = CommandSpec(name="resume", command=Resume)


# ---------------------------------------------------------------- the request
@turn_value(kw_only=True)
class Inbound:
    """The message that a request was delivered with."""

    message_id: int
    sender: Address


@turn_value(kw_only=True)
class Request:
    """A command for one instance, with what surrounds it.

    Attributes:
        command: what is asked.
        action: its name.
        payload: its input as JSON; empty when it takes none.
        idempotency_key: repeats with this key change nothing and get the first answer.
        wait_for: when the caller gets its answer: at the ``completion`` of the first attempt, or at its ``start``.
        inbound: the message that this request consumes.
    """

    __repr__ = fields_in_line

    command: object
    action: str
    payload: str = ""
    idempotency_key: str | None = None
    wait_for: WaitFor = "completion"
    inbound: Inbound | None = None


ALARM = Request(command=AlarmDue(), action="alarm")
RECOVER = Request(command=Recover(), action="recover")
REDECODE = Request(command=Redecode(), action="redecode")
