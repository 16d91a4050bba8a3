"""Workflow commands, their answers, and workflow errors."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar, cast

import attrs
from typing_extensions import TypeForm

from perdure.codecs import Codec
from perdure.jobs.request import CommandSpec, Keyword, Repeat
from perdure.kinds.workflow.header import Parent
from perdure.kinds.workflow.instructions import Broken, Fulfilled, KeyedValue, Signal
from perdure.values.address import MAX_ID_CHARACTERS, is_text
from perdure.values.answer import PauseResult, RunAnswer, Terminated
from perdure.values.errors import DefinitionError, InvalidArgument, InvalidInput, PerdureError
from perdure.values.excerpt import excerpt, fields_in_line, size_only
from perdure.values.frozen import frozen
from perdure.values.status import FailureRecord, Status
from perdure.values.times import Duration, due_ms, duration_ms, format_duration

S = TypeVar("S")

NO_TIME: Final = "0ms"


@frozen
class StartWorkflow:
    """Start a workflow, unless it exists."""

    __repr__ = fields_in_line

    state: Any  # of the definition's own type


@frozen(kw_only=True)
class TimedStart(Generic[S]):
    """The ``start_timed`` input.

    Attributes:
        state: the state that the workflow starts with.
        after: it begins this long after its acceptance.
        at: it begins at this aware instant. Not together with ``after``.
        within: it is cancelled this long after its beginning, unless it has ended.
    """

    __repr__ = fields_in_line

    state: S
    after: str = NO_TIME
    at: datetime | None = None
    within: str | None = None


@frozen
class StartTimed:
    """Start a workflow that begins later, or has a deadline. Integer milliseconds.

    Attributes:
        after_ms: how long after the acceptance it begins.
        at_ms: when it begins. None: `after_ms` says it.
        within_ms: how long after its beginning it is cancelled. None: it has no deadline.
    """

    __repr__ = fields_in_line

    start: TimedStart[Any]
    after_ms: int = 0
    at_ms: int | None = None
    within_ms: int | None = None


def timed_start(state: S, after: Duration | None, at: datetime | None, within: Duration | None) -> TimedStart[S]:
    """Return the ``start_timed`` input, in its stored form.

    Raises:
        DefinitionError: a duration is not valid.
    """
    # One form for equal durations: the fingerprint of a key is computed from the text.
    delay = NO_TIME if after is None else format_duration(duration_ms(after, what="after of start", minimum_ms=0))
    limit = None if within is None else format_duration(duration_ms(within, what="within of start"))
    return TimedStart(state=state, after=delay, at=at, within=limit)


def start_of(given: TimedStart[Any]) -> StartTimed:
    """Return the command for a ``start_timed`` input.

    Raises:
        InvalidInput: a duration or the instant is not valid, or both ``after`` and ``at`` are set.
    """
    try:
        after_ms = duration_ms(given.after, what="after", minimum_ms=0)
        at_ms = None if given.at is None else due_ms(given.at, what="at")
        within_ms = None if given.within is None else duration_ms(given.within, what="within")
    except DefinitionError as wrong:
        # An error of the input and not of the definition: it may come from another process.
        raise InvalidInput("input of start_timed", (str(wrong),)) from wrong
    # Both would contradict each other: to prefer one would start the workflow at another time than the caller wants.
    if at_ms is not None and after_ms:
        raise InvalidInput("input of start_timed", ("expected either after=... or at=..., got both",))
    return StartTimed(given, after_ms, at_ms, within_ms)


def start_arguments(start: TimedStart[Any]) -> tuple[object, ...]:
    """Return the arguments with which a handle starts a workflow at its times."""
    options = {"after": None if start.after == NO_TIME else start.after, "at": start.at, "within": start.within}
    return (start.state, *(Keyword(name, value) for name, value in options.items() if value is not None))


@frozen(kw_only=True)
class ChildStart(Generic[S]):
    """The ``start_child`` input.

    Attributes:
        parent: the workflow that waits for its end.
    """

    __repr__ = fields_in_line

    state: S
    parent: Parent


@frozen
class StartChild:
    """Start a workflow for another one. Only workflows send this."""

    __repr__ = fields_in_line

    start: ChildStart[Any]


@frozen(kw_only=True)
class ChildEnd:
    """The ``child_ended`` input.

    Attributes:
        call: the call that waits.
        value: the child's value, error or reason as JSON.
        secret: whether the value or the child's error has secrets.
    """

    __repr__ = fields_in_line

    call: str
    form: str
    value: str = attrs.field(repr=size_only)
    secret: bool = False


@frozen
class ChildEnded:
    """Report a child's end. Only workflows send this."""

    __repr__ = fields_in_line

    end: ChildEnd


@frozen(kw_only=True)
class ChildParking:
    """The input that ``child_parked`` and ``child_resumed`` take.

    Attributes:
        call: the call that waits.
        reason: why the child is, or was, parked.
    """

    __repr__ = fields_in_line

    call: str
    reason: str


@frozen
class ChildParked:
    """Report that a child is parked. Only workflows send this."""

    __repr__ = fields_in_line

    parking: ChildParking


@frozen
class ChildResumed:
    """Report that a parked child was resumed. Only workflows send this."""

    __repr__ = fields_in_line

    parking: ChildParking


@frozen(kw_only=True)
class WatchCall:
    """The ``watch`` input.

    Attributes:
        call: the call that waits.
        wants: see `Watcher`.
    """

    __repr__ = fields_in_line

    call: str
    wants: str


@frozen
class WatchInstance:
    """Report to the sender when the instance publishes a value. Only workflows send this."""

    watch: WatchCall


@frozen
class UnwatchInstance:
    """End a watch: its call no longer waits. Only workflows send this."""

    watch: WatchCall


@frozen
class SendSignal:
    """Store a signal."""

    __repr__ = fields_in_line

    name: str
    value: Any  # of the signal's own type


V = TypeVar("V")

IfEnded: TypeAlias = Literal["refuse", "start"]
"""Whether ``signal_with_start`` refuses a signal to a workflow that has ended, or starts the next one of its id."""


@frozen(kw_only=True)
class StartingSignal(Generic[S, V]):
    """The ``signal_with_start`` input.

    Attributes:
        state: the state that an absent workflow starts with.
        if_ended: whether a workflow that has ended refuses the signal, or is started again.
    """

    __repr__ = fields_in_line

    state: S
    value: V
    if_ended: IfEnded = "refuse"


@frozen
class SignalWithStart:
    """Store a signal, and start the workflow if there is none."""

    __repr__ = fields_in_line

    name: str
    start: StartingSignal[Any, Any]


@frozen(kw_only=True)
class Cancellation:
    """The ``cancel`` input that also stops the steps in progress. A plain reason lets them end.

    Attributes:
        reason: part of the outcome.
        interrupt: whether the steps in progress are stopped.
    """

    reason: str = attrs.field(default="cancelled", repr=excerpt)
    interrupt: bool = False


@frozen
class CancelWorkflow:
    """Halt the program: finalizers and compensations run."""

    reason: str = attrs.field(repr=excerpt)
    interrupt: bool = False


def cancel_of(given: str | Cancellation) -> CancelWorkflow:
    """Return the command for a ``cancel`` input."""
    return CancelWorkflow(given) if isinstance(given, str) else CancelWorkflow(given.reason, given.interrupt)


def input_of_cancel(reason: str, interrupt: object) -> str | Cancellation:
    """Return the ``cancel`` input.

    Raises:
        InvalidArgument: ``interrupt`` is not a bool.
    """
    if type(interrupt) is not bool:
        raise InvalidArgument("interrupt of cancel", interrupt, "True or False")
    # A plain reason where it suffices: older code does not know the other form.
    return Cancellation(reason=reason, interrupt=True) if interrupt else reason


@frozen
class SendUpdate:
    """Store an update, which the program answers."""

    __repr__ = fields_in_line

    name: str
    value: Any  # of the update's own type


@frozen(kw_only=True)
class UpdateSent:
    """The result that ``update.NAME`` returns, once the update is stored.

    Attributes:
        accepted: whether it is stored.
        found: the state in which the update found the workflow.
        ticket: names the update for ``reply``. Empty if it is not stored.
        status: the status after the call. None when there is no instance.
    """

    __repr__ = fields_in_line

    accepted: bool
    found: Literal["running", "ended", "absent"]
    ticket: str = ""
    status: Status | None = None


@frozen(kw_only=True)
class UpdateCall(Generic[V]):
    """The ``ask_update.NAME`` input.

    Attributes:
        call: the call that waits.
    """

    __repr__ = fields_in_line

    call: str
    value: V


@frozen
class AskUpdate:
    """Store an update, and send its reply to the sender. Only workflows send this."""

    __repr__ = fields_in_line

    name: str
    asked: UpdateCall[Any]


@frozen
class SettlePromise:
    """Set the outcome of a promise, unless it has one."""

    __repr__ = fields_in_line

    name: str
    outcome: Fulfilled[Any] | Broken[Any]  # of the promise's own types


@frozen(kw_only=True)
class PromiseSettled:
    """The result that ``complete.NAME`` and ``fail.NAME`` return, as it is sent.

    Attributes:
        accepted: whether the outcome is that of this request. False: an earlier one has settled the promise.
        settled: the promise's outcome as JSON.
        status: the status after the call.
    """

    __repr__ = fields_in_line

    accepted: bool
    settled: str = attrs.field(repr=size_only)
    status: Status


@frozen
class AskQuery:
    """Compute a query's answer from the committed state."""

    __repr__ = fields_in_line

    name: str
    value: Any  # of the query's own type


@frozen(kw_only=True)
class QueryAnswer:
    """The answer to a query, as it is sent.

    Attributes:
        found: the state in which the query found the workflow.
        value: the answer as JSON. None if there is no workflow.
    """

    __repr__ = fields_in_line

    found: Literal["running", "ended", "absent"]
    value: str | None = attrs.field(default=None, repr=size_only)


UnreceivedSignals: TypeAlias = Literal["keep", "drop"]
"""Whether the signals and updates that the kept steps have not received wait in a fork's inbox."""


@frozen(kw_only=True)
class ForkInput:
    """The ``fork`` input.

    Attributes:
        source: the id of the workflow to fork.
        step: the path or the name of the first step that is performed again. None: where it is, or was cancelled.
        signals: whether the signals and updates that the kept steps have not received wait in the fork's inbox.
        accept_undone: fork although steps that the fork keeps have been undone.
    """

    __repr__ = fields_in_line

    source: str
    step: str | None = None
    signals: UnreceivedSignals = "keep"
    accept_undone: bool = False


@frozen
class ForkWorkflow:
    """Begin a workflow with another one's journal, up to a step.

    Attributes:
        copied: the parts of the other workflow, as the gateway has read them, or why there are none. None in a message.
    """

    __repr__ = fields_in_line

    wanted: ForkInput
    copied: Any = attrs.field(default=None, eq=False, repr=False)


@frozen(kw_only=True)
class Forked:
    """The result that ``fork`` returns.

    Attributes:
        created: whether this call created the fork. False if its id exists.
        kept: how many steps it has taken over. They are not performed again.
        step: the path of the first step that is performed again. Empty: the next one.
        status: the status after the call.
    """

    __repr__ = fields_in_line

    created: bool
    kept: int = 0
    step: str = ""
    status: Status | None = None


@frozen(kw_only=True)
class NoteFork:
    """Note in the history that a workflow was forked. Only workflows send this.

    Attributes:
        step: the first step that it performs again.
    """

    __repr__ = fields_in_line

    run_id: str
    step: str


@frozen
class ReadOutcome:
    """Read how a workflow ended."""


@frozen(kw_only=True)
class Signalled:
    """The result that ``signal`` and ``cancel`` return.

    An accepted signal is stored, and received when the program next waits for it. If the program ends without that, the
    event ``signals.unreceived`` reports it.

    Attributes:
        accepted: whether the request is stored. False if a ``cancel`` found no workflow, or one that has ended. There a
            ``signal`` fails with `SignalRefused`.
        found: the state in which the request found the workflow.
        status: the status after the call. None when there is no instance.
    """

    accepted: bool
    found: Literal["running", "ended", "absent"]
    status: Status | None


@frozen(kw_only=True)
class WorkflowOutcome:
    """The ``outcome`` answer, as it is stored and sent.

    Attributes:
        form: how the workflow ended. ``running`` while it has not, ``absent`` when there is none. ``timed_out``: it was
            cancelled at its deadline.
        value: the workflow's value as JSON.
    """

    __repr__ = fields_in_line

    form: Literal["done", "failed", "cancelled", "timed_out", "running", "absent"]
    value: str | None = attrs.field(default=None, repr=size_only)
    error: FailureRecord | None = None
    reason: str | None = attrs.field(default=None, repr=excerpt)


WorkflowAnswer: TypeAlias = (
    RunAnswer
    | Terminated
    | PauseResult
    | Signalled
    | WorkflowOutcome
    | QueryAnswer
    | UpdateSent
    | Forked
    | PromiseSettled
)
ANSWERS: Codec[Any] = Codec.of(WorkflowAnswer, what="answers of a workflow")
REASON: Codec[Any] = Codec.of(str, what="reason of cancel")
CANCELLATION: Codec[Any] = Codec.of(str | Cancellation, what="input of cancel")
FORK: Codec[Any] = Codec.of(ForkInput, what="input of fork")
FORK_NOTE: Codec[Any] = Codec.of(NoteFork, what="note of a fork")
CHILD_PARKING: Codec[Any] = Codec.of(ChildParking, what="parking of a child")
WATCH: Codec[Any] = Codec.of(WatchCall, what="watch of an instance")
CHILD_END: Codec[Any] = Codec.of(ChildEnd, what="end of a child")


# ---------------------------------------------------------------- the commands of a definition
def form_of(signal: Signal[V]) -> TypeForm[V | KeyedValue[V]]:
    """Return the type of the input with which a signal is sent."""
    plain: Any = signal.value
    keyed: Any = KeyedValue
    form: TypeForm[V | KeyedValue[V]] = keyed[plain] if signal.by_key else plain
    return form


def workflow_commands(
    state: TypeForm[Any],
    signals: Mapping[str, Codec[Any]],
    declared: Mapping[str, Signal[Any]],
    tags: Mapping[type, str] | None,
    name: str,
    repeat: Repeat,
) -> tuple[CommandSpec[Any], ...]:
    """Return the commands that a definition's callers and other workflows send, without its updates and queries."""
    return (
        *_start_commands(state, tags, name, repeat),
        CommandSpec(
            name="child_ended",
            command=ChildEnded,
            input=CHILD_END,
            sender="instance",
            carries="another_job",
            answer=Signalled,
        ),
        *(
            CommandSpec(name=action, command=command, input=CHILD_PARKING, sender="instance", answer=Signalled)
            for action, command in (("child_parked", ChildParked), ("child_resumed", ChildResumed))
        ),
        *(
            CommandSpec(name=action, command=command, input=WATCH, sender="instance", answer=Signalled)
            for action, command in (("watch", WatchInstance), ("unwatch", UnwatchInstance))
        ),
        CommandSpec(name="cancel", command=cancel_of, input=CANCELLATION, answer=Signalled),
        CommandSpec(
            name="fork",
            command=ForkWorkflow,
            input=FORK,
            absent="creates",
            answer=Forked,
            repeat=repeat,
            samples=(("source", None), ("step", (None, "0", "1", "2", "3", "4", "5"))),
        ),
        CommandSpec(name="forked_into", command=_noted, input=FORK_NOTE, sender="instance", answer=Signalled),
        CommandSpec(name="outcome", command=ReadOutcome, answer=WorkflowOutcome, repeat="reads"),
        *_signal_commands(state, signals, declared, tags, name),
    )


def _noted(note: NoteFork) -> NoteFork:
    return note


def _start_commands(
    state: TypeForm[Any], tags: Mapping[type, str] | None, name: str, repeat: Repeat
) -> tuple[CommandSpec[Any], ...]:
    def codec(form: Any, what: str) -> Codec[Any]:
        return Codec.of(form, what=f"{what} of workflow:{name}", tags=tags, ignores_other_tags=True)

    return (
        CommandSpec(
            name="start",
            command=StartWorkflow,
            input=codec(state, "state"),
            stored=(),
            parts=True,
            absent="creates",
            answer=RunAnswer,
            repeat=repeat,
        ),
        CommandSpec(
            name="start_timed",
            command=start_of,
            input=codec(cast("Any", TimedStart)[state], "timed start"),
            stored=("state",),
            parts=True,
            absent="creates",
            answer=RunAnswer,
            repeat=repeat,
            samples=(("after", (NO_TIME, "1h")), ("at", (None,)), ("within", (None, "30m", "2h"))),
        ),
        CommandSpec(
            name="start_child",
            command=StartChild,
            input=codec(cast("Any", ChildStart)[state], "child start"),
            stored=("state",),
            absent="creates",
            sender="instance",
            answer=RunAnswer,
        ),
    )


def _signal_commands(
    state: TypeForm[Any],
    signals: Mapping[str, Codec[Any]],
    declared: Mapping[str, Signal[Any]],
    tags: Mapping[type, str] | None,
    name: str,
) -> tuple[CommandSpec[Any], ...]:
    sent = (
        CommandSpec(name=f"signal.{signal}", command=partial(_sent, signal), input=codec, stored=(), answer=Signalled)
        for signal, codec in signals.items()
    )
    starting = (
        CommandSpec(
            name=f"signal_with_start.{signal}",
            command=partial(_starting, signal),
            input=Codec.of(
                cast("Any", StartingSignal)[state, form_of(declared[signal])],
                what=f"start with signal {signal} of workflow:{name}",
                tags=tags,
                ignores_other_tags=True,
            ),
            stored=("state", "value"),
            parts=True,
            absent="creates",
            answer=Signalled,
        )
        for signal in signals
    )
    return (*sent, *starting)


def _sent(name: str, value: Any) -> SendSignal:
    """Return the command for a signal that is sent by key.

    Raises:
        InvalidInput: the key is not valid.
    """
    _check_key(name, value)
    return SendSignal(name, value)


def _starting(name: str, start: StartingSignal[Any, Any]) -> SignalWithStart:
    _check_key(name, start.value)
    return SignalWithStart(name, start)


def _check_key(name: str, sent: Any) -> None:
    if type(sent) is KeyedValue and not is_text(sent.key, MAX_ID_CHARACTERS):
        problem = f"expected text of 1 to {MAX_ID_CHARACTERS} characters, got {excerpt(sent.key)}"
        raise InvalidInput(f"key of signal {name}", (problem,))


# ---------------------------------------------------------------- errors
@attrs.frozen(repr=False)
class Diverged(InvalidInput):
    """The program does not perform its journal's steps: other code wrote it, or the program is not deterministic.

    The engine leaves the workflow to other code, with all its data, and it continues when code that can follow it
    starts.

    Attributes:
        path: the step's path.
        recorded: the step name that the journal holds at this path. None if it holds none.
        performed: the step name that the program performs there. None if it performs none.
        line: the program line that waits there, or that was last to run.
    """

    path: str = attrs.field(default="", kw_only=True)
    recorded: str | None = attrs.field(default=None, kw_only=True)
    performed: str | None = attrs.field(default=None, kw_only=True)
    line: str | None = attrs.field(default=None, kw_only=True)


class ProgramStopped(BaseException):
    """Ends a program's interpretation when its own code raises an exception, before any finalizer runs."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(cause)
        self.cause = cause


@frozen(repr=False, str=False)
class NotRecordable(PerdureError):
    """A step's outcome cannot be stored. A defect in the program, which is not retried: the step is parked.

    Attributes:
        step: the step's name.
        reason: why.
    """

    step: str
    reason: str

    def _text(self) -> str:
        return f"the outcome of {excerpt(self.step)} cannot be stored: {self.reason}"


@frozen(repr=False, str=False)
class JournalFull(PerdureError):
    """A workflow has as many steps as its definition allows. It is parked, with all its data.

    Attributes:
        limit: the definition's ``max_steps``.
    """

    limit: int

    def _text(self) -> str:
        return (
            f"the journal has {self.limit} steps, its limit; raise max_steps of the definition and resume the "
            "workflow, or call ctx.start_over(state) from time to time to begin an empty journal"
        )


@frozen(repr=False, str=False)
class NotInWorkflow(PerdureError):
    """A workflow performed an instruction that it cannot record. A program defect."""

    instruction: object

    def _text(self) -> str:
        return (
            f"a workflow cannot perform {excerpt(self.instruction)}: use effects, sleep, signals, messages and "
            "children; the alarm of a workflow is its own"
        )
