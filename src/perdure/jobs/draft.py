"""The draft: a run's working copy, changed by context operations. It is discarded unless the run succeeds.

In debug mode, the `Inspection` finds programs that never run, and states and inputs that are changed in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Never, TypeAlias, TypeVar, cast

import attrs
from returns.result import Failure, Success

from perdure._lazy import lazy_module
from perdure.codecs import Codec, NewerOnly, Opened
from perdure.jobs.context import (
    Alarm,
    AlarmChange,
    GetAlarm,
    GetState,
    Post,
    SetAlarm,
    SetState,
    UpdateState,
    alarm_ms,
)
from perdure.jobs.request import CommandSpec, Request, within
from perdure.programs import PASS, Exit, Instruction
from perdure.programs.interpreter import Watch
from perdure.values.address import Address
from perdure.values.errors import InvalidInput, PerdureError
from perdure.values.excerpt import excerpt, fields_in_line
from perdure.values.frozen import frozen
from perdure.values.instance import Claim
from perdure.values.limits import Limits
from perdure.values.message import Message
from perdure.values.times import from_ms

if TYPE_CHECKING:
    from perdure.codecs import unknown_members
    from perdure.codecs.unknown_members import CarriedMembers
else:
    unknown_members = lazy_module("perdure.codecs.unknown_members")  # for values of newer code only

T = TypeVar("T")


@frozen
class PostReply(Instruction[None, Never]):
    """Send a reply to the event's sender with this turn's commit."""

    __repr__ = fields_in_line

    name: str
    value: object
    codec: Codec[Any] = attrs.field(eq=False, repr=False)


CONTEXT_OPERATIONS = (GetState, SetState, UpdateState, GetAlarm, SetAlarm, Post, PostReply)


@attrs.frozen(repr=False)
class DraftInBranch(PerdureError):
    """A context operation was used inside a parallel branch, where drafts have no order. A program defect."""

    operation: object

    def _text(self) -> str:
        return (
            f"{excerpt(self.operation)} inside gather, race or another parallel branch: the order of changes would be "
            "arbitrary; collect the results first, then change the state after the branches have joined"
        )


@attrs.frozen(repr=False)
class TooManyMessages(PerdureError):
    """A turn sent more messages than one turn may. A program defect."""

    limit: int

    def _text(self) -> str:
        return f"a turn may send at most {self.limit} messages; send the rest from a later turn"


class EarlierRun(NamedTuple):
    """The run of another instance that a step continues.

    Attributes:
        address: that instance, printed ``kind:name:id``.
    """

    address: str
    incarnation: int
    run_id: str


class EmittingStep(NamedTuple):
    """The step whose effect emits to a stream, or beats.

    Attributes:
        form: whether it is performed ``first``, or perhaps ``again``.
        run_id: the run, or the workflow, that has the step.
        name: the step's path and name. Empty for a run without steps.
        attempt: tells the step's attempts within one delivery apart.
        effect: whether the effect is the ``whole`` step, or ``part`` of it. ``unknown`` if another step is in progress
            that may have it.
        before: the run whose heartbeats count until this one has its own. None without one.
    """

    form: Literal["first", "again"]
    run_id: str
    name: str = ""
    attempt: int = 0
    effect: Literal["whole", "part", "unknown"] = "part"
    before: EarlierRun | None = None


# ---------------------------------------------------------------- the draft
@attrs.frozen
class GetDraft(Instruction["Draft", Never]):
    """Read the draft itself."""


@attrs.frozen
class InParts:
    """Stands for a state in parts, until the run has read them."""

    __repr__ = fields_in_line

    reference: str


_no_messages = cast("Callable[[], list[Message]]", list)  # `list[Message]()` takes four times as long


@attrs.define(kw_only=True)
class Draft:
    """One run's working copy.

    Attributes:
        state: the decoded state as the program sees it.
        codec: checks and encodes the state.
        current_alarm_ms: the alarm before the run, in milliseconds.
        limits: limits how many messages there are, and their size.
        encoded: the encoded state, if it was set. Else None.
        alarm: the alarm's change. The last call wins.
        messages: messages to send, in order.
        replies: the replies to the event's sender as JSON, each with its codec, by name. None if there are none.
        inspection: the debug mode's inspection. None when the mode is off.
        opened: the state with the members that newer code wrote. None if there are none.
        received: an event's command: its objects take over no such members.
        too_large: the refusal of a state that the program set.
        left: why only other code can write the state that the program set, or read the one in parts.
        carried: the unknown members, by the objects that the run has read. None without such members.
        emitted: the steps that have emitted, each with its attempt and the stream. None if none has.
        performed: how many effects each attempt at a step has begun, by their name. None if nothing counts them.
        lives: lets the run's time limit begin again. None while it has none.
        secrets: the secrets of a state in parts: its row does not have them.
    """

    __repr__ = fields_in_line

    address: Address
    state: object
    codec: Codec[Any]
    current_alarm_ms: int | None
    now_ms: int
    limits: Limits
    encoded: str | None = None
    alarm: AlarmChange = Alarm.keep
    messages: list[Message] = attrs.Factory(_no_messages)
    replies: dict[str, tuple[Codec[Any], str]] | None = None
    inspection: Inspection | None = None
    opened: Opened[Any] | None = None
    too_large: InvalidInput | None = None
    received: object = None
    left: InvalidInput | None = None
    carried: CarriedMembers | None = None
    emitted: set[tuple[str, int, str]] | None = None
    performed: dict[tuple[EmittingStep, str], int] | None = None
    lives: Callable[[], None] | None = None
    secrets: frozenset[str] = frozenset()

    def emitting(self, claim: Claim, instruction: object) -> EmittingStep:
        """Return the step that an effect belongs to."""
        return EmittingStep("first" if (claim.attempt, claim.deliveries) == (1, 1) else "again", claim.run_id)

    def nth(self, step: EmittingStep, effect: str) -> str:
        """Name an effect inside a step: an attempt that does the same again gives it the same name."""
        counts = self.performed = {} if self.performed is None else self.performed
        # Counted for each step and effect: a repeat of the step performs its effects in the same order.
        counts[step, effect] = number = counts.get((step, effect), 0) + 1
        return f"{step.name} {effect} {number}"

    @property
    def is_complete(self) -> bool:
        """Whether the user's program ends when the run ends. A kind may continue the program in another run."""
        return True

    def answer(self, operation: object) -> object:
        """Interpret a context operation. Return PASS for anything else.

        Results are plain values: no state is a container of ``returns``.
        """
        kind = type(operation)
        # The two most frequent operations come before the match, which tests its cases one after the other.
        if kind is GetState:
            return self.state
        if kind is SetState:
            given: Any = operation
            self._set(given.state)
            return None
        if kind not in CONTEXT_OPERATIONS:
            return self if kind is GetDraft else PASS
        match operation:
            case UpdateState(function):
                self._set(function(self.state))
            case GetAlarm():
                due_ms = self.alarm_ms(self.now_ms)
                return None if due_ms is None else from_ms(due_ms)
            case SetAlarm(change):
                self.alarm = change
            case Post():
                self._post(operation)
            case PostReply():
                self._reply(operation)
            case _:
                return PASS
        return None

    def branch(self) -> ClosedDraft:
        """Return the interceptor for parallel branches, which refuses context operations."""
        # Parallel branches end in any order, so their changes would be applied in an order that no replay reproduces.
        return ClosedDraft()

    def alarm_ms(self, now_ms: int) -> int | None:
        """Return when the alarm is due if the draft is committed at this instant (ms). None for no alarm."""
        return alarm_ms(self.alarm, current_ms=self.current_alarm_ms, now_ms=now_ms)

    def _set(self, state: object) -> None:
        # Encode first and assign last: if the state is refused and the program catches the error, it must see the state
        # from before.
        if self.opened is None:
            data, opened = self.codec.encode(state), None
        else:
            data, opened = self.closed(state, self.opened)
        if self.carried is not None:
            data = self.codec.carry(data, state, self.carried)
        limit = self.limits.state_bytes
        try:
            self.encoded = within(data, limit, what=self.codec.what)
        except InvalidInput as refused:
            # Kept, because such a run is not repeated: its effects have happened, and it would set the same state.
            self.too_large = refused
            raise
        # Both: the next change in this turn is joined with what this one kept of newer code's members, not with the
        # stored ones.
        self.state, self.opened = state, opened

    def closed(self, state: object, opened: Opened[Any]) -> tuple[bytes, Opened[Any] | None]:
        """Encode a state with the members that newer code wrote. Return it with these members.

        Raises:
            NewerOnly: a member has no certain place in it. The run is left to newer code.
            InvalidInput: it does not have its type.
        """
        try:
            data, after = self.codec.close(state, opened, new=self.received)
        except NewerOnly as left:
            # Kept, because the program may catch the exception: `finish` must still leave the run to newer code.
            self.left = left
            raise
        self.known(after)
        return data, after.with_rest()

    def take_up(self, opened: Opened[Any], secrets: frozenset[str]) -> None:
        """Take over the state that was in parts."""
        self.state, self.secrets, rest = opened.value, secrets, opened.with_rest()
        if rest is not None:
            newest = self.opened
            self.found(rest)
            # A replay begins with the first state, and the members of the newest one are those to keep.
            self.opened = newest or rest

    # ------------------------------------------------------------ members that newer code wrote
    def found(self, opened: Opened[Any]) -> None:
        """Take over the state that the program begins with: each state that it sets is joined with this one."""
        self.opened = opened
        self.known(opened)

    def known(self, opened: Opened[T]) -> T:
        """Return a value that the program reads, and remember the unknown members."""
        if opened.rest is not None:
            self.carried = self.carried or unknown_members.CarriedMembers()
            self.carried.note(opened.value, opened.rest)
        return opened.value

    def know_as(self, other: Draft) -> None:
        """Remember the unknown members in another draft's objects, too."""
        if other.carried is not None:
            self.carried = self.carried or unknown_members.CarriedMembers()
            self.carried.note_all(other.carried)

    def encode(self, codec: Codec[T], value: T) -> bytes:
        """Encode a value that the run stores or sends, with the unknown members in the objects.

        Raises:
            InvalidInput: the value does not have the type.
        """
        data = codec.encode(value)
        return data if self.carried is None else codec.carry(data, value, self.carried)

    def encode_result(self, codec: Codec[T], value: T) -> bytes:
        """Encode a result. One with the state's type is the next state, and joined as one.

        Raises:
            NewerOnly: a member has no certain place in the changed state. The run is left to newer code.
            InvalidInput: the value does not have the type.
        """
        opened = self.opened
        if opened is None or type(value) is not type(opened.value) or codec.form != self.codec.form:
            return self.encode(codec, value)
        data = self.closed(value, opened)[0]
        return data if self.carried is None else codec.carry(data, value, self.carried)

    # ------------------------------------------------------------ messages
    def _post(self, post: Post) -> None:
        self.send(post.target, post.action, post.payload(self.encode))

    def _reply(self, reply: PostReply) -> None:
        replies = {name: sent for name, sent in (self.replies or {}).items() if name != reply.name}
        # Together: they are one answer, which a key stores and a message carries.
        most = self.limits.payload_bytes - sum(len(text.encode()) for _, text in replies.values())
        text = within(self.encode(reply.codec, reply.value), most, what=reply.codec.what)
        self.replies = replies | {reply.name: (reply.codec, text)}

    def send(self, target: Address, action: str, payload: str) -> None:
        """Send a message whose input is encoded."""
        # All messages of a turn are in one commit, whose size this bounds.
        if len(self.messages) >= self.limits.messages_per_turn:
            raise TooManyMessages(self.limits.messages_per_turn)
        # Before it is added: a message that is too large must not be among those that are sent.
        within(payload.encode(), self.limits.payload_bytes, what=f"{action} to {target}")
        self.messages.append(
            Message(sender=self.address, target=target, action=action, payload=payload, sent_ms=self.now_ms)
        )


@attrs.frozen
class ClosedDraft:
    """Refuses context operations: the draft has one writer."""

    def answer(self, operation: object) -> object:
        """Refuse a context operation. Return PASS for anything else.

        Raises:
            DraftInBranch: the operation is a context operation.
        """
        if isinstance(operation, CONTEXT_OPERATIONS):
            raise DraftInBranch(operation)
        return PASS

    def branch(self) -> ClosedDraft:
        """Return the interceptor for nested branches, which refuses context operations too."""
        return self


HookBugKind: TypeAlias = Literal["program never run", "state changed in place", "input changed in place"]


@attrs.frozen(kw_only=True, repr=False)
class HookBug(PerdureError, AssertionError):
    """A hook did something without effect, or changed a value that its caller holds.

    Attributes:
        job: the job, printed ``kind:name``.
        hook: the function, such as ``on_event``.
        mistake: which mistake it was.
        subject: the program that was never run, printed, or the type of the state or the input.
        place: the file and the line that built the program. Empty for a state or an input.
    """

    job: str
    hook: str
    mistake: HookBugKind
    subject: str
    place: str = ""

    def _text(self) -> str:
        hook = f"{self.hook} of {self.job}"
        if self.mistake == "program never run":
            return (
                f"{hook} built {self.subject} at {self.place} and never ran it: put `yield from` before it, or build "
                "it only where it is run"
            )
        if self.mistake == "state changed in place":
            return (
                f"{hook} changed its state ({self.subject}) in place, and the change is lost: set a changed copy with "
                "ctx.set_state(...)"
            )
        return f"{hook} changed its event ({self.subject}) in place, and its caller holds the same value: change a copy"


@attrs.frozen
class _Received:
    """A run's input: the value that the hook received, and its encoded form before the hook received it."""

    value: object
    codec: Codec[object]
    before: bytes

    def is_changed(self) -> bool:
        return _encoded(self.codec, self.value) != self.before


@attrs.define
class Inspection:
    """Intercepts one run's context operations, and finds mistakes in the hook. Make it with :meth:`of`.

    Attributes:
        received: the run's input. None when it has none, or when the run was delivered again.
        watch: the programs that the run built.
        exited: whether the program has ended, and its mistakes were returned.
    """

    draft: Draft
    received: _Received | None = None
    watch: Watch = attrs.Factory(Watch)
    exited: bool = False
    _found: bytes | None = None

    @staticmethod
    def of(
        draft: Draft, request: Request, commands: Mapping[str, CommandSpec[Any]], *, is_first_hook: bool
    ) -> Inspection:
        """Return the inspection for a run that has not begun.

        Args:
            draft: its draft.
            request: the request that it serves.
            commands: the job's commands, by name.
            is_first_hook: whether no other hook has run for the request.
        """
        is_first = is_first_hook and draft.inspection is None
        return Inspection(draft, _received(request, commands.get(request.action), is_first_hook=is_first))

    def answer(self, operation: object) -> object:
        """Answer from the draft. Note the encoded state when the program first reads it."""
        if self._found is None and type(operation) is GetState:
            self._found = self._encoded_state()
        return self.draft.answer(operation)

    def branch(self) -> ClosedDraft:
        """Return the interceptor for parallel branches: they have no draft."""
        return self.draft.branch()

    def mistakes(self, exit_: Exit[object, object], *, job: str, hook: str) -> tuple[HookBug, ...]:
        """Return the hook's mistakes. A run that did not succeed may have left programs for later.

        Args:
            exit_: the program's exit.
            job: the job, printed ``kind:name``.
            hook: the function.
        """
        found: list[HookBug] = []
        if isinstance(exit_, Success):
            # A run that failed may rightly leave programs that it built for later.
            for program, place in self.watch.never_run() if self.draft.is_complete else ():
                subject = f"{program!r}"
                found.append(
                    HookBug(job=job, hook=hook, mistake="program never run", subject=subject, place=place.in_full())
                )
            if self._is_state_changed():
                subject = self.draft.codec.type_name
                found.append(HookBug(job=job, hook=hook, mistake="state changed in place", subject=subject))
        if isinstance(exit_, Success | Failure) and self.received is not None and self.received.is_changed():
            subject = self.received.codec.type_name
            found.append(HookBug(job=job, hook=hook, mistake="input changed in place", subject=subject))
        return tuple(found)

    def _is_state_changed(self) -> bool:
        """Return whether the state that the program holds differs from the one that it read, or set."""
        expected = self._found if self.draft.encoded is None else self.draft.encoded.encode()
        # The text has members of newer code, which the value has not: compare the values alone.
        if expected is not None and self.draft.opened is not None:  # the state has no unknown members, its text has
            codec = self.draft.codec
            expected = _encoded(codec, codec.open(expected).value)
        return expected is not None and self._encoded_state() != expected

    def _encoded_state(self) -> bytes:
        return _encoded(self.draft.codec, self.draft.state)


def _received(request: Request, spec: CommandSpec[Any] | None, *, is_first_hook: bool) -> _Received | None:
    if spec is None or spec.input is None or not request.payload or not attrs.has(type(request.command)):
        return None
    field = next(iter(attrs.fields(cast("type[attrs.AttrsInstance]", type(request.command)))), None)
    if field is None:
        return None
    value = getattr(request.command, field.name)
    if is_first_hook:
        # the body of a hook without @program has already run, so the payload is the only copy from before it
        before = _encoded(spec.input, spec.input.accept(request.payload.encode()))
    else:  # an earlier hook of the same request had its own inspection
        before = _encoded(spec.input, value)
    return _Received(value, spec.input, before)


def _encoded(codec: Codec[object], value: object) -> bytes:
    try:
        return codec.encode(value)
    except InvalidInput:  # a value that was changed in place may not have its type any more
        return b""


@frozen
class FirstTime(Instruction[bool, Never]):
    """Return whether a program passes a mark for the first time since it began. A replay answers the same again."""

    __repr__ = fields_in_line

    mark: str


ENDS: Final = {"unsubscribe": "subscribe"}
"""The actions of messages after which a program passes the mark of another action's message again."""


@attrs.define(eq=False)
class StateOperations:
    """Answers the operations on the state, which a replay repeats: they leave no row in a journal.

    Attributes:
        marks: those that the program has passed.
    """

    draft: Draft | ClosedDraft
    marks: set[str] = attrs.Factory(set[str])

    def answer(self, instruction: object, /) -> object:
        """Answer an operation on the state. Return PASS for anything else."""
        kind = instruction.__class__
        if kind is GetState or kind is SetState or kind is UpdateState:
            return self.draft.answer(instruction)
        if kind is FirstTime:
            return self._is_first(cast("FirstTime", instruction).mark)
        if kind is Post:
            post = cast("Post", instruction)
            # After an "unsubscribe" the next "subscribe" is a first one again.
            self.marks.discard(f"{post.target} {ENDS.get(post.action)}")
        return PASS

    def _is_first(self, mark: str) -> bool:
        is_first = mark not in self.marks
        self.marks.add(mark)
        return is_first

    def branch(self) -> StateOperations:
        """Return the operations of a branch, which refuse: the state has one writer."""
        # The marks are shared: a branch that subscribes must not do it a second time.
        return StateOperations(ClosedDraft(), self.marks)
