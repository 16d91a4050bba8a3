"""The texts that the objects and the client exchange: strict JSON, each with its format's number."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeVar

import attrs
import orjson
from returns.result import Failure, Result, Success

from perdure.codecs import Codec
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import Request, Terminate, WaitFor
from perdure.values.errors import InvalidArgument, InvalidInput, OutcomeUnknown, PerdureError
from perdure.values.excerpt import size_only
from perdure.values.message import StoredMessage
from perdure.values.transition import Remembered
from perdure.wire.problems import error_of, problem_of

FORMAT: Final = 1
"""The format that this version writes, and the only one that it reads."""

MAILBOX: Final = "PerdureMailbox"
"""The virtual object that decides an instance's requests. Its key is the address."""

RUN: Final = "PerdureRun"
"""The virtual object that performs an instance's runs."""

EVENT_RUN: Final = "PerdureEventRun"
"""The virtual object that performs an instance's events, which may happen during a run."""

DEAD_LETTERS: Final = "PerdureDeadLetters"
"""The virtual object that keeps an instance's dead letters."""

STATE: Final = "mailbox"
"""A mailbox's state key, whose value is a `MailboxState`."""


EMPTY: Final = b"{}"
"""The body for a request that takes nothing: Restate refuses none at all."""


def _number(values: tuple[object, ...]) -> str:
    return f"<{len(values)}>"


def _hidden(text: str | None) -> str:
    return "None" if text is None else size_only(text)


@attrs.frozen(kw_only=True)
class TurnRequest:
    """A request to an instance.

    Attributes:
        payload: its input as JSON. Empty if it takes none.
        wait_for: when the caller gets the answer.
        interrupt: whether ``terminate`` cancels a run in progress.
    """

    format: int = FORMAT
    action: str
    payload: str = attrs.field(default="", repr=size_only)
    key: str | None = None
    wait_for: WaitFor = "completion"
    interrupt: bool = False

    @classmethod
    def of(cls, request: Request) -> TurnRequest:
        """Return a caller's request as it is sent."""
        command = request.command
        return cls(
            action=request.action,
            payload=request.payload,
            key=request.idempotency_key,
            wait_for=request.wait_for,
            interrupt=isinstance(command, Terminate) and command.when == "interrupt",
        )

    def parsed(self, job: AnyDefinition) -> Request:
        """Return the request.

        Raises:
            UnknownAction: the job's kind has no such command.
            InvalidInput: the payload is not a valid input for the command.
            InvalidArgument: the command does not interrupt a run.
        """
        request = job.parse(self.action, self.payload, idempotency_key=self.key)
        command = request.command
        if self.interrupt:
            if not isinstance(command, Terminate):
                raise InvalidArgument(f"interrupt of {self.action}", True, "False: only terminate takes it")  # noqa: FBT003 - the value
            command = attrs.evolve(command, when="interrupt")
        return attrs.evolve(request, command=command, wait_for=self.wait_for)


@attrs.frozen(kw_only=True)
class TurnAnswer:
    """The answer to a request.

    Attributes:
        form: an answer; an error, as a problem; the run whose result is the answer; or nothing yet, because a run in
            progress ends first.
        body: the answer or the problem as JSON, or the run's key.
    """

    format: int = FORMAT
    form: Literal["answer", "problem", "run", "deferred"]
    body: str = attrs.field(default="", repr=size_only)

    @classmethod
    def of(cls, job: AnyDefinition, result: Result[Any, Any]) -> TurnAnswer:
        """Return a result as it is sent."""
        # None travels as an empty body: a kind whose answers have no type has no codec for it.
        if isinstance(result, Success):
            answer: Any = result.unwrap()
            return cls(form="answer", body="" if answer is None else job.plan.answers.encode(answer).decode())
        return cls.refused(job, result.failure())

    @classmethod
    def refused(cls, job: AnyDefinition | None, error: PerdureError) -> TurnAnswer:
        """Return an error as it is sent."""
        problem = problem_of(error, None if job is None else job.plan.errors)
        return cls(form="problem", body=orjson.dumps(problem).decode())

    def result(self, job: AnyDefinition) -> Result[Any, Any]:
        """Return the result. An answer from newer code that this code cannot read is an unknown outcome."""
        if self.form == "problem":
            return Failure(error_of(orjson.loads(self.body), job.plan.errors))
        if self.form != "answer":
            return Failure(OutcomeUnknown(f"the mailbox answered {self.form}"))
        try:
            # `open` and not `decode`: newer code may add members, and the answer is only read.
            return Success(job.plan.answers.open(self.body.encode()).value if self.body else None)
        except InvalidInput as problem:
            return Failure(OutcomeUnknown(f"the answer does not decode: {problem}"))


@attrs.frozen(kw_only=True)
class RunOrder:
    """A run for a run object, whose claim the mailbox has written.

    Attributes:
        key: names the run and its row's version: a repeat with this key performs nothing.
        event: whether it handles an event.
        beside: whether the mailbox decides other requests meanwhile.
    """

    format: int = FORMAT
    key: str
    run_id: str
    event: bool
    beside: bool
    row: str = attrs.field(repr=size_only)


@attrs.frozen(kw_only=True)
class RunEnd:
    """A run's end.

    Attributes:
        form: whether it ended, or was stopped because its invocation was cancelled. Then its claim stays.
        transitions: the transitions that the mailbox writes, as text. Empty for a run beside the mailbox.
    """

    format: int = FORMAT
    form: Literal["ended", "stopped"]
    transitions: tuple[str, ...] = attrs.field(default=(), repr=_number)
    answer: TurnAnswer


@attrs.frozen(kw_only=True)
class RunCount:
    """A run object's state.

    Attributes:
        begun: the number under which a delivery last began the program. 0 if none did.
        end: its end, until the next run begins. The repeated invocation returns it.
    """

    format: int = FORMAT
    key: str
    begun: int
    end: RunEnd | None = None


@attrs.frozen(kw_only=True)
class WriteOrder:
    """A transition of a run beside the mailbox, which is written if the row has the expected fence.

    Attributes:
        transition: the transition as text.
    """

    format: int = FORMAT
    transition: str = attrs.field(repr=size_only)


@attrs.frozen(kw_only=True)
class WriteAnswer:
    """Whether the mailbox wrote a transition.

    Attributes:
        written: False if the row has another fence.
    """

    format: int = FORMAT
    written: bool


@attrs.frozen(kw_only=True)
class JournalRows:
    """Journal rows: those that are wanted, or found.

    Attributes:
        first: the first row's place.
        limit: how many at most.
    """

    format: int = FORMAT
    first: int
    limit: int
    bodies: tuple[str, ...] = attrs.field(default=(), repr=_number)


@attrs.frozen(kw_only=True)
class AlarmOrder:
    """A delayed send to the mailbox itself.

    Attributes:
        number: the alarm's number. One that is not the mailbox's last has no effect.
    """

    format: int = FORMAT
    number: int


@attrs.frozen(kw_only=True)
class RecoverOrder:
    """Deliver an instance's run again whose invocation was cancelled or killed.

    Attributes:
        run_id: the run. Empty for any: an operator's order.
    """

    format: int = FORMAT
    run_id: str = ""


@attrs.frozen(kw_only=True)
class MessageOrder:
    """A message for an instance.

    Attributes:
        message: the message, with its number among the sender's.
    """

    format: int = FORMAT
    message: StoredMessage


@attrs.frozen(kw_only=True)
class CommittedRow:
    """An instance's committed row, as callers read it.

    Attributes:
        row: the row as text. None if there is none.
        existed: whether the mailbox knows of an instance, present or gone.
    """

    format: int = FORMAT
    row: str | None = attrs.field(default=None, repr=_hidden)
    existed: bool = False


@attrs.frozen(kw_only=True)
class QueuedSend:
    """A one-way send that belongs to a written state: the repeated invocation sends it again, with the same key.

    Attributes:
        key: the idempotency key for Restate.
        at_ms: when it is delivered. None for immediately.
    """

    service: str
    handler: str
    target: str
    body: str = attrs.field(repr=size_only)
    key: str
    at_ms: int | None = None


@attrs.frozen(kw_only=True)
class PendingRun:
    """A run that the mailbox waits for.

    Attributes:
        event: whether it handles an event.
        then: whether its end is the invocation's answer, or the invocation decides its own request afterwards.
    """

    invocation: str
    run_key: str
    run_id: str
    event: bool
    then: Literal["answer", "decide"]


@attrs.frozen(kw_only=True)
class ClearedRows:
    """An earlier journal's rows that are deleted."""

    journal: int
    rows: int


@attrs.frozen(kw_only=True)
class MailboxState:
    """A mailbox's state, written as one value.

    Attributes:
        row: the row as text. None while there is no instance.
        keys: the idempotency keys with their results.
        incarnation: the greatest incarnation so far.
        purged_ms: when the last instance was deleted. 0 if none was.
        messages: the last sent message's number.
        dropped: messages to itself up to this number are not delivered.
        cleared: earlier journals' rows that the write deletes.
        armed_ms: when the armed alarm fires. None if none is armed.
        alarms: the last armed alarm's number.
        writer: the invocation that wrote this state.
        answer: that invocation's answer. None while it continues.
        sent: how many sends the mailbox has made.
        pending: the run that it waits for.
        run: the invocation that runs.
        stopped: the run whose invocation ended without an end. Empty for none.
        held: messages that could not be handled yet, in order.
    """

    format: int = FORMAT
    row: str | None = attrs.field(default=None, repr=_hidden)
    keys: tuple[Remembered, ...] = attrs.field(default=(), repr=_number)
    incarnation: int = 0
    purged_ms: int = 0
    messages: int = 0
    dropped: int = 0
    journal: int = 0
    cleared: tuple[ClearedRows, ...] = ()
    armed_ms: int | None = None
    alarms: int = 0
    writer: str = ""
    answer: str | None = attrs.field(default=None, repr=_hidden)
    sends: tuple[QueuedSend, ...] = ()
    sent: int = 0
    pending: PendingRun | None = None
    run: str = ""
    stopped: str = ""
    held: tuple[StoredMessage, ...] = ()


T = TypeVar("T")


_CODECS: Final[dict[type, Codec[Any]]] = {}


def _codec(cls: type[T]) -> Codec[T]:
    # Built at first use: an import of this module must not build a dozen codecs.
    if cls not in _CODECS:
        _CODECS[cls] = Codec.of(cls, what=cls.__name__)
    return _CODECS[cls]


def encoded(value: object) -> bytes:
    """Return a value of one of these classes as JSON text."""
    cls: type[Any] = type(value)
    return _codec(cls).encode(value)


def decoded(cls: type[T], data: bytes) -> T:
    """Return a value of one of these classes.

    Raises:
        InvalidInput: it is no such text, or has a member or a format that this version does not know.
    """
    value: Any = _codec(cls).decode(data)
    if value.format != FORMAT:
        problem = f"format: expected {FORMAT}, got {value.format}; deploy the version that wrote it"
        raise InvalidInput(cls.__name__, (problem,))
    found: T = value
    return found
