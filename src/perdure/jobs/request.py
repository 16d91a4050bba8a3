"""Requests to an instance, as values, and the commands that a definition accepts, with the limit for their inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias, TypeVar, cast

import attrs
import orjson

from perdure.codecs import Codec
from perdure.values.address import Address
from perdure.values.answer import PauseResult, Terminated
from perdure.values.errors import DefinitionError, InvalidArgument, InvalidInput
from perdure.values.excerpt import fields_in_line, size_only
from perdure.values.frozen import frozen, turn_value
from perdure.values.times import Duration, duration_ms
from perdure.values.turn_inputs import digest, printed_id

if TYPE_CHECKING:
    from perdure.codecs.unknown_members import CarriedMembers


def within(data: bytes, max_bytes: int, *, what: str) -> str:
    """Return an encoded value as text, unless it is too large.

    Raises:
        InvalidInput: it has more than ``max_bytes`` bytes.
    """
    if len(data) > max_bytes:
        problem = (
            f"expected at most {max_bytes} bytes when encoded, got {len(data)}; "
            "keep large data elsewhere and store its key"
        )
        raise InvalidInput(what, (problem,))
    return data.decode()


def too_large(data: str, max_bytes: int, *, what: str) -> InvalidInput | None:
    """Return why an encoded value is too large. None if it is not."""
    try:
        within(data.encode(), max_bytes, what=what)
    except InvalidInput as problem:
        return problem
    return None


C = TypeVar("C")
T = TypeVar("T")

KEPT_MS = 600_000
"""A repeat of the request that creates an instance changes nothing if the id is kept this long after the end."""

Repeat: TypeAlias = Literal["applies_again", "starts_again", "changes_nothing", "reads"]
"""The effect of a repeat of a request without a key: it is applied again; or only if the instance has ended since; or
it changes nothing, because its id is known; or it only reads."""

WaitFor: TypeAlias = Literal["completion", "start"]
"""When a call that runs user code returns: after the first attempt, or when the run is claimed."""


# ---------------------------------------------------------------- commands that every kind understands
@frozen
class Terminate:
    """Cancel the alarm and purge the instance."""

    __repr__ = fields_in_line

    reason: str = "terminated"
    when: Literal["after_run", "interrupt"] = "after_run"


@frozen
class Pause:
    """Suspend alarms and retries."""


@frozen
class Resume:
    """Resume a paused or parked instance."""


@frozen
class AlarmDue:
    """The instance is due, or the named start may begin (`Definition.queued_start`). Only the engine sends this."""

    start: str = attrs.field(default="", repr=size_only)


@frozen
class Recover:
    """An abandoned run left a claim. Only the engine sends this."""


@frozen
class TakeUp:
    """Other code left an instance: continue it, if this code can read it. Only the engine sends this.

    Attributes:
        problem: why this code cannot follow its journal, which a turn does not read. None if it can.
    """

    problem: InvalidInput | None = None


# ---------------------------------------------------------------- the commands of a kind
@frozen(kw_only=True)
class CommandSpec(Generic[C]):
    """A kind's command: its name in messages, its input, and its effect on an absent instance.

    Attributes:
        name: the action's name: ``start``, ``add``, ``send``.
        input: the codec for its input. None if it takes none.
        absent: whether the command creates an absent instance, or returns ``not_found``.
        effect: whether it deletes an instance or discards data.
        sender: who may send it: any caller, or only other instances, by a message.
        carries: whether its input has values from another job, whose secrets are not known here: it is not shown.
        answer: the answer class, for interface descriptions. None for any answer that the kind has.
        repeat: how a repeat without a key acts, after an answer was lost.
        takes: whether its input may be left out. Then the command has the default.
        stored: the input's fields that a row keeps, with newer code's members. Empty for all. None if it keeps none.
        parts: whether the state that its input brings may be stored in parts.
        samples: for generated requests, the useful values of some fields. None stands for an instance's id.
    """

    __repr__ = fields_in_line

    name: str
    command: Callable[..., C]
    input: Codec[object] | None = None
    absent: Literal["creates", "not_found"] = "not_found"
    effect: Literal["usual", "destroys"] = "usual"
    sender: Literal["anyone", "instance"] = "anyone"
    carries: Literal["own_types", "another_job"] = "own_types"
    answer: type | None = None
    repeat: Repeat = "applies_again"
    takes: Literal["input", "options"] = "input"
    stored: tuple[str, ...] | None = None
    parts: bool = False
    samples: tuple[tuple[str, tuple[object, ...] | None], ...] = ()

    def accept(self, payload: str, bare: str = "") -> tuple[C, str]:
        """Build the command from its encoded input, which older or newer code may have written.

        Args:
            payload: the input.
            bare: the same without the members that have their defaults, as the sender's code knows them. See
                `Codec.bare`. A member that this code does not know carries nothing if it is missing there.

        Returns:
            The command, and its input as this code writes it.

        Raises:
            NewerOnly: this code does not know a part of the input, which would be lost.
            InvalidInput: the payload is not a valid input for the command.
        """
        if self.input is None or (self.takes == "options" and not payload):
            return self.command(), payload
        if not payload:
            raise InvalidInput(f"input of {self.name}", (f"{self.name} needs its input as JSON, got none",))
        try:
            return self.command(self.input.decode(payload.encode())), payload
        except InvalidInput:
            value = self.input.accept(payload.encode(), bare.encode())
        return self.command(value), self.input.encode(value).decode()


TERMINATE = CommandSpec(
    name="terminate",
    command=Terminate,
    input=Codec.of(str, what="reason of terminate"),
    answer=Terminated,
    effect="destroys",
)
PAUSE = CommandSpec(name="pause", command=Pause, answer=PauseResult)
RESUME = CommandSpec(name="resume", command=Resume, answer=PauseResult)


def repeat_of_creating(keep_ms: int | None) -> Repeat:
    """Return how a repeated request acts that creates an instance.

    Args:
        keep_ms: how long the id is kept after the instance ended. None for ever.
    """
    # A client may repeat for minutes: where the id is forgotten earlier, a repeat creates the instance again.
    return "changes_nothing" if keep_ms is None or keep_ms >= KEPT_MS else "applies_again"


@frozen(kw_only=True)
class TriggerOptions:
    """The ``trigger`` input, which may be left out.

    Attributes:
        new_run: abandon a run that failed or waits for its retry, and begin a new one.
    """

    new_run: bool = False


TRIGGER_OPTIONS: Codec[Any] = Codec.of(TriggerOptions, what="options of trigger")


# ---------------------------------------------------------------- the request
@turn_value(kw_only=True)
class Inbound:
    """The message that a request was delivered with.

    Attributes:
        message_id: its number in the store.
        sender: the instance that sent it.
        sent_ms: when its turn committed. 0 for a run that was recovered, which has its id already.
        subscription: the sender's subscription for which it was sent. Then only an instance that exists takes it.
    """

    message_id: int
    sender: Address
    sent_ms: int = 0
    subscription: int | None = None


@turn_value(kw_only=True)
class Request:
    """A command for one instance, with its envelope.

    Attributes:
        command: the command.
        action: its name.
        payload: its input as JSON, as this code writes it. Empty if it takes none.
        idempotency_key: a repeat with this key changes nothing and returns the first result.
        wait_for: when the call returns: at the first attempt's ``completion``, or at its ``start``.
        inbound: the message that this request consumes.
        trace: the caller's trace context. None if it has none.
        by: the caller's token name. None for a caller in this process, for a message and for the engine.
        attempt: which handling of an event this is: more than 1 if earlier ones failed, and may have had effects.
        unread_key_ms: when it was decided without a look at its key, as if that were new: its commit must have the
            condition that it is. None if the key was looked up, or if there is none.
        carried: members in the input that only newer code knows, for a message whose input the instance stores.
    """

    __repr__ = fields_in_line

    command: object
    action: str
    payload: str = attrs.field(default="", repr=size_only)
    idempotency_key: str | None = None
    wait_for: WaitFor = "completion"
    inbound: Inbound | None = None
    trace: str | None = None
    by: str | None = None
    attempt: int = 1
    unread_key_ms: int | None = None
    carried: CarriedMembers | None = attrs.field(default=None, repr=False)

    def encode(self, codec: Codec[T], value: T) -> bytes:
        """Encode a part of the input that the instance stores, with the unknown members.

        Raises:
            InvalidInput: the value does not have the type.
        """
        data = codec.encode(value)
        return data if self.carried is None else codec.carry(data, value, self.carried)

    def unread(self, now_ms: int) -> Request:
        """Return the same request, to be decided now without a look at its key."""
        return Request(
            command=self.command,
            action=self.action,
            payload=self.payload,
            idempotency_key=self.idempotency_key,
            wait_for=self.wait_for,
            inbound=self.inbound,
            trace=self.trace,
            by=self.by,
            attempt=self.attempt,
            unread_key_ms=now_ms,
            carried=self.carried,
        )


_FREE_BITS: Final = ~((0xF << 76) | (0x3 << 62))
_VERSION_8: Final = (0x8 << 76) | (0x2 << 62)
"""The bits of a UUID that name its version and variant. Version 8 has no other rules (RFC 9562)."""


def run_id_of(address: Address, request: Request, new_id: Callable[[], str]) -> str:
    """Return the run id for a request that begins a run.

    Each repeat of a keyed request, and each delivery of a message, has the first one's id, whatever ended that run: a
    failure, a process death, the instance's end, a store that was restored from a backup. It is computed from the
    request's identity, and so needs no row. Any other request gets a new id.

    Args:
        address: the instance.
        request: the request.
        new_id: makes an id.
    """
    # Computed and not drawn: the id must be the same after a restore from a backup, in which no row of the first
    # delivery is left.
    if request.inbound is not None:
        inbound = request.inbound
        return _computed_id("message", str(address), str(inbound.sender), inbound.message_id, inbound.sent_ms)
    if request.idempotency_key is not None:
        # With the address: clients reuse keys, such as an order number, for different instances.
        return _computed_id("key", str(address), request.action, request.idempotency_key)
    return new_id()


def _computed_id(*parts: str | int) -> str:
    number = int.from_bytes(digest(orjson.dumps(parts)))
    # A change here gives keyed runs that are in progress during a deployment a second id: services would not recognize
    # their repeats.
    return printed_id(number & _FREE_BITS | _VERSION_8)


def check_wait(action: str, wait_for: object, interrupt: object) -> None:
    """Check a call's options.

    Raises:
        InvalidArgument: ``wait_for`` is neither ``"completion"`` nor ``"start"``, or ``interrupt`` is not a bool.
    """
    if type(interrupt) is not bool:
        raise InvalidArgument(f"interrupt of {action}", interrupt, "True or False")
    if wait_for not in ("completion", "start"):
        raise InvalidArgument(f"wait_for of {action}", wait_for, "'completion' or 'start'")


def check_timeout(value: object, *, of: str = "until") -> int:
    """Check how long a wait may take, and return it in milliseconds.

    Raises:
        InvalidArgument: the value is not a duration.
    """
    try:
        return duration_ms(cast("Duration", value), what=f"timeout of {of}", minimum_ms=0)
    except DefinitionError as wrong:
        raise InvalidArgument(f"timeout of {of}", value, wrong.expected) from wrong


def check_repeatable(spec: CommandSpec[Any] | None, key: str | None, *, of: str) -> None:
    """Check that a caller whose wait ends early can repeat its request, and wait on.

    Raises:
        InvalidArgument: a repeat without a key would apply the request again.
    """
    if key is None and spec is not None and spec.repeat == "applies_again":
        expected = "a key: a repeat of this call, after its wait was over, would otherwise apply the request again"
        raise InvalidArgument(f"idempotency_key of {of}", key, expected)


@frozen
class Keyword:
    """A keyword argument to a handle method, where the arguments are in a tuple."""

    __repr__ = fields_in_line

    name: str
    value: object


AHEAD = frozenset((Terminate, Recover))
"""Commands that go to the head of a queue."""

ENGINE_COMMANDS = (AlarmDue, Recover, TakeUp)
"""Commands that the engine sends itself. They are never rejected: their senders limit them."""

ALARM = Request(command=AlarmDue(), action="alarm")
RECOVER = Request(command=Recover(), action="recover")
TAKE_UP = Request(command=TakeUp(), action="take_up")
