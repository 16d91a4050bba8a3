"""The journal: its rows, step names, codecs for step outcomes, differences from a program, and a fork's copy of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping, Sequence
from functools import cache, partial
from hashlib import blake2b
from types import GeneratorType
from typing import Any, Final, Literal, TypeAlias, cast

import attrs
import orjson
from returns.result import Failure, Success

from perdure.codecs import Codec
from perdure.jobs.context import Post
from perdure.jobs.draft import Draft
from perdure.jobs.parts import joined, names_in, parts_in
from perdure.kinds.workflow.children import is_child_signal
from perdure.kinds.workflow.commands import Diverged, ForkInput, NotRecordable
from perdure.kinds.workflow.header import (
    PUBLISHED,
    CancelRequest,
    ForkedFrom,
    ForkedPart,
    Header,
    Publication,
    shared_in,
)
from perdure.kinds.workflow.instructions import (
    AskInstance,
    AwaitPromise,
    CallChild,
    OneStep,
    Patched,
    Publish,
    Receive,
    SendReply,
)
from perdure.kinds.workflow.tree import Branch, OpenStep, Tree, can_stop
from perdure.programs import ServiceCall
from perdure.programs.effect_results import Declared, Undeclared, declared_by
from perdure.programs.instructions import DO, Deadline, Gather, OrderedSupervisor, Race, Sleep, SleepUntil, Supervision
from perdure.programs.interpreter import Fork, Loop, stack_of
from perdure.values.errors import DefinitionError, ForkRefused, InvalidInput
from perdure.values.excerpt import REFERENCE, excerpt, fields_in_line, size_only
from perdure.values.frozen import turn_value

Form: TypeAlias = Literal[
    "done", "failed", "mark", "dropped", "interrupted", "timed_out", "cancelled", "arrived", "waiting", "part"
]
"""The form of an answer:

``done`` a value, ``failed`` a typed error, ``mark`` no value, ``dropped`` the halt of a branch whose fork was decided,
``interrupted`` the same after the step had begun, so that its effect may have happened,
``timed_out`` the end of a time limit, ``cancelled`` the halt of the workflow. A row that ``arrived`` is not an answer:
it is a signal or the end of a child, which a later row receives. Nor is one of ``waiting``: it holds the waits that the
program has reached, so that a restart neither moves them nor finds another program there. Nor is a ``part`` of a large
outcome, whose name is the hash of its content. It comes before the row that names it.
"""


STOPPED: Final = frozenset({"dropped", "interrupted"})
"""The forms of rows that halt a branch instead of the answer of its step."""

DIRECT: Final = frozenset({"done", "failed", "mark"})
"""The forms of rows that answer an instruction."""


@turn_value(kw_only=True)
class Row:
    """One answer that the program received.

    Attributes:
        path: the instruction's number. In a fork's branch, the fork's path and the branch come first.
        at_ms: when the step ended: the program's clock.
        began_ms: when the step's last attempt began, or when the program reached the wait.
        value: the value as JSON. Empty for a form that has none.
        secret: whether the value has secrets.
        signal: the number for the signal that arrives or is received. 0 for all other rows. A receipt's row does not
            repeat the value.
        finalizer: whether a finalizer or a compensation performed the step: it may have undone others.
    """

    __repr__ = fields_in_line

    path: str
    name: str
    form: Form
    at_ms: int
    began_ms: int
    attempts: int = 1
    value: str = attrs.field(default="", repr=size_only)
    secret: bool = False
    signal: int = 0
    finalizer: bool = False


def body_of(row: Row) -> str:
    """Encode a row: one JSON line, then the value."""
    took_ms = row.at_ms - row.began_ms
    head: list[object] = [row.path, row.name, row.form, row.at_ms, took_ms, row.attempts]
    # Earlier code knows no arrivals in parts. Null, it cannot decode the row, and leaves the workflow to newer code.
    if row.form == "arrived" and row.value[:1] == REFERENCE:
        head[4] = None
    # Further members only as far as they are set: most rows have none, and a journal has many rows.
    if row.finalizer:
        head += [int(row.secret), row.signal, 1]
    elif row.signal:
        head += [int(row.secret), row.signal]
    elif row.secret:
        head.append(1)
    return f"{orjson.dumps(head).decode()}\n{row.value}"


def row_of(body: str) -> Row:
    """Decode a row.

    Raises:
        InvalidInput: this code cannot decode it.
    """
    # The head is JSON without line breaks, so the first one ends it, whatever the value contains.
    head, _, value = body.partition("\n")
    try:
        path, name, form, at_ms, took_ms, attempts, *more = orjson.loads(head)
        # Rows of older versions have fewer members. Those of newer ones, which this code does not know, are ignored.
        secret, signal, finalizer = (*more, 0, 0, 0)[:3]
        return Row(
            path=path,
            name=name,
            form=form,
            at_ms=at_ms,
            began_ms=at_ms - (took_ms or 0),
            attempts=attempts,
            value=value,
            secret=bool(secret),
            signal=signal,
            finalizer=bool(finalizer),
        )
    except (ValueError, TypeError) as problem:
        raise InvalidInput("row of a journal", (f"not a row of a workflow: {problem}",)) from problem


def row_of_waits(waits: Sequence[tuple[str, str, int]]) -> Row:
    """Return the row that records waits: each wait's path and name, and when the program reached it."""
    last_ms = max(at_ms for _, _, at_ms in waits)
    return Row(
        path="", name="waits", form="waiting", at_ms=last_ms, began_ms=last_ms, value=orjson.dumps(waits).decode()
    )


def waits_in(row: Row) -> list[tuple[str, str, int]]:
    """Return the waits that a row records.

    Raises:
        InvalidInput: this code cannot decode it.
    """
    try:
        return [(str(path), str(name), int(at_ms)) for path, name, at_ms in orjson.loads(row.value)]
    except (ValueError, TypeError) as problem:
        raise InvalidInput("row of a journal", (f"not the waits of a workflow: {problem}",)) from problem


CHILD: Final = "child "
"""Begins the name of the step that starts a child and waits for it."""

SIGNAL: Final = "signal "
"""Begins the name of the step that receives a signal."""

PROMISE: Final = "promise "
"""Begins the name of a step that waits for a promise."""

UPDATE: Final = "update "
"""Begins the name of the step that receives an update."""

ASK: Final = "await "
"""Begins the name of the step that waits for something of another instance."""

REPLY: Final = "reply "
"""Begins the name of the step that answers an update."""

PUBLISH: Final = "publish "
"""Begins the name of the step that publishes a value."""

TELL: Final = "tell "
"""Begins the name of the step that sends a message."""

NAMES: Final[Mapping[type, Callable[[Any], str]]] = {
    ServiceCall: lambda call: cast("str", call.name),
    OneStep: lambda one: cast("str", one.name),
    Sleep: lambda _: "sleep",
    SleepUntil: lambda _: "sleep until",
    Receive: lambda receive: f"{UPDATE}{receive.name}" if receive.is_update else f"{SIGNAL}{receive.stored}",
    SendReply: lambda reply: f"{REPLY}{reply.update.name}",
    Post: lambda post: f"{TELL}{post.target}.{post.action}",
    CallChild: lambda call: f"{CHILD}{call.job.name}:{call.id}",
    AskInstance: lambda ask: f"{ASK}{ask.target} {ask.wants}",
    AwaitPromise: lambda wait: f"{PROMISE}{wait.promise.name}",
    Publish: lambda publish: f"{PUBLISH}{publish.published.name}",
    Patched: lambda patched: f"patch {patched.name}",
    Fork: lambda fork: fork.plan.name if isinstance(fork.plan, Supervision) else _FORKS[type(fork.plan)],
}
_FORKS: Final[Mapping[type, str]] = {Gather: "gather", Race: "race", Deadline: "timeout"}
"""The name of each instruction that has a place in the journal."""


INSTANT: Final = frozenset({Post, Patched, SendReply, Publish})
"""The instructions that take no time: no time limit around them begins to count."""


def stops_when_cancelled(asked: OpenStep) -> bool:
    """Return whether any cancellation stops a step in progress, and not only one with ``interrupt``."""
    return isinstance(asked.instruction, OneStep) and asked.instruction.when_cancelled == "interrupt"


def interrupt(tree: Tree, *, every: bool) -> bool:
    """Stop the steps that a cancelled program waits for, every one or those that say so. Return whether there were."""
    open_ = (asked for asked in tree.steps.values() if asked.branch.halt is not None and can_stop(asked))
    waited_for = [asked for asked in open_ if every or stops_when_cancelled(asked)]
    for asked in waited_for:
        tree.interrupt(asked)
    return bool(waited_for)


Codecs: TypeAlias = tuple[Codec[Any], Codec[Any] | None]
"""The codec of the values and that of the typed errors."""


def codec_of(signals: Mapping[str, Codec[Any]], receive: Receive) -> Codec[Any]:
    """Return the codec of a signal, or of an update.

    Raises:
        InvalidInput: the definition does not declare it.
    """
    codec = signals.get(receive.declared)
    if codec is None:
        problem = "the definition has no such signal; add it to signals=(...)"
        raise InvalidInput(f"signal {receive.declared!r}", (problem,))
    return codec


def codecs_of(instruction: ServiceCall | OneStep) -> Codecs:
    """Return the codecs for a step's outcome.

    Raises:
        NotRecordable: the function's annotation does not declare them.
    """
    if isinstance(instruction, OneStep):
        return instruction.values, instruction.errors
    return _codecs(instruction.fn, instruction.name)


# By function: its annotations do not change.
@cache
def _codecs(function: Callable[..., Any], name: str) -> Codecs:
    match declared_by(function):
        case Undeclared(reason):
            # An outcome without a type could not be read by a replay.
            raise NotRecordable(name, f"{reason}; annotate it, such as -> FutureResult[Receipt, Declined]")
        case Declared(value=value, error=error):
            try:
                values: Codec[Any] = Codec.of(value, what=f"value of {name}")
                errors: Codec[Any] | None = None if error is None else Codec.of(error, what=f"error of {name}")
            except DefinitionError as problem:
                raise NotRecordable(name, str(problem)) from problem
            return values, errors


Encode: TypeAlias = Callable[[Codec[Any], Any], bytes]


def encoded(
    instruction: ServiceCall | OneStep, outcome: Success[Any] | Failure[Any], draft: Draft
) -> tuple[bytes, bool]:
    """Return an outcome's JSON, and whether it has secrets.

    Args:
        instruction: the step.
        outcome: the step's outcome.
        draft: encodes a value with a codec, and has the limits.

    Raises:
        NotRecordable: the outcome is too large, or declared without an error type.
        InvalidInput: the outcome does not have the declared type.
    """
    values, errors = codecs_of(instruction)
    if isinstance(outcome, Success):
        codec, value = values, outcome.unwrap()
    elif errors is None:
        raise NotRecordable(instruction.name, f"it failed with {outcome.failure()!r}, and declares no error")
    else:
        codec, value = errors, outcome.failure()
    data = draft.encode_result(codec, value)
    return recordable(instruction.name, data, draft.limits.outcome_bytes, "outcome_bytes"), codec.secret


def recordable(name: str, outcome: bytes, most: int, limit: str = "payload_bytes") -> bytes:
    """Return an encoded outcome.

    Raises:
        NotRecordable: it is larger than the limit.
    """
    if len(outcome) > most:
        raise NotRecordable(name, f"it has {len(outcome)} bytes, more than {limit} ({most}); return a reference")
    return outcome


def not_recorded(name: str, problem: InvalidInput | NotRecordable | str) -> NotRecordable:
    """Return why a performed step has no outcome that can be stored. Nothing repeats it by itself."""
    reason = problem.reason if isinstance(problem, NotRecordable) else str(problem)
    return NotRecordable(name, f"{reason}. The step was performed: only a resumption performs it again")


# ---------------------------------------------------------------- outcomes larger than one row
@attrs.frozen
class Large:
    """An encoded outcome larger than one row, or the reference to its stored parts.

    Attributes:
        secret: whether the value has secrets.
    """

    value: str = attrs.field(repr=size_only)
    secret: bool


Unrecorded: TypeAlias = Exception | Large | None
"""The reason why a performed step is not recorded yet: a defect, or a large outcome. None if it is recorded."""

PARTS_IN_COMMIT: Final = 4
"""How many parts one commit writes: other instances' commits wait for no more."""


def whole_row(body: str, parts: dict[str, str]) -> Row:
    """Decode a row with the outcome that it names, and note a part.

    Raises:
        InvalidInput: this code cannot decode it, or a part is missing.
    """
    row = row_of(body)
    if row.form == "part":
        parts[row.name] = row.value
    elif row.value[:1] == REFERENCE:
        row = attrs.evolve(row, value=joined(row.value, parts))
    return row


def reply_row(reply: SendReply, most: int, encode: Encode) -> tuple[str, bool]:
    """Return the value of a reply's row, and whether it has secrets.

    Raises:
        NotRecordable: the reply is too large, or an error that the update does not declare.
        InvalidInput: it does not have the declared type.
    """
    update, outcome = reply.update, reply.outcome
    if isinstance(outcome, Success):
        form, codec, value = "done", update.replies, outcome.unwrap()
    elif update.errors is None:
        raise NotRecordable(f"{REPLY}{update.name}", f"it failed with {outcome.failure()!r}, and declares no error")
    else:
        form, codec, value = "failed", update.errors, outcome.failure()
    data = recordable(f"{REPLY}{update.name}", encode(codec, value), most)
    return orjson.dumps([reply.number, form, data.decode()]).decode(), codec.secret


MAX_PUBLISHED_BYTES: Final = 4_000
"""A published value's size: every commit writes the values that are published."""


def published_row(publish: Publish, received: Container[str], draft: Draft) -> Publication:
    """Return a published value, as it is stored.

    Raises:
        NotRecordable: it is too large.
        InvalidInput: it does not have the declared type, or the definition does not declare it.
    """
    declared, most = publish.published, min(draft.limits.payload_bytes, MAX_PUBLISHED_BYTES)
    if f"{PUBLISHED}{declared.name}" not in received:
        problem = "the definition declares no such value; add it to publishes=(...)"
        raise InvalidInput(f"publish {declared.name!r}", (problem,))
    data = draft.encode(declared.values, publish.value)
    if len(data) > most:
        reason = f"it has {len(data)} bytes, more than the {most} of a published value; publish a reference"
        raise NotRecordable(f"publish {declared.name}", reason)
    return Publication(name=declared.name, value=data.decode(), secret=declared.values.secret)


def whole_end(header: Header, bodies: Sequence[str]) -> tuple[Literal["done", "failed"], str] | None:
    """Return a workflow's value whose parts are in its journal. None if it has no such value."""
    if header.ended is None or header.ended.value[:1] != REFERENCE:
        return None
    return "done", joined(header.ended.value, parts_in(bodies))


def reply_in(bodies: Sequence[str], number: int) -> tuple[Literal["done", "failed"], str] | None:
    """Return the form and the value of an update's reply. None if these rows have none."""
    for body in bodies:
        # The mark first: decoding each row would cost as much as the journal is long, and few rows are replies.
        if _REPLY_MARK in body.partition("\n")[0]:
            row = row_of(body)
            if row.name.startswith(REPLY) and row.form == "done":
                answered, form, value = reply_numbered(row)
                if answered == number:
                    return form, value
    return None


def reply_numbered(row: Row) -> tuple[int, Literal["done", "failed"], str]:
    """Return an update's number, and the form and the value of the reply in a row."""
    number, form, value = orjson.loads(row.value)
    return int(number), "failed" if form == "failed" else "done", value


_REPLY_MARK: Final = f'"{REPLY}'


def is_reply(body: str) -> bool:
    """Return whether a row is the reply to an update."""
    return _REPLY_MARK in body.partition("\n")[0]


def line_of(loop: Loop[Any, Any]) -> str | None:
    """Return the file and line where a waiting program's innermost do-block is. None outside any do-block."""
    for tag, payload in reversed(stack_of(loop)):
        if tag == DO and isinstance(payload, GeneratorType) and payload.gi_frame is not None:
            code = payload.gi_frame.f_code
            return f"{code.co_filename}:{payload.gi_frame.f_lineno} in {code.co_name}"
    return None


def line_of_branch(branch: Branch) -> str | None:
    """Return where a branch waits: in a coroutine, the line that awaits the operation."""
    line: str | None = None
    if branch.fork is not None and (supervisor := _ordered(branch.fork.plan)) is not None:
        line = supervisor.line_of(branch.fork.keys.get(branch.index))
    elif branch.waits_for is not None and (supervisor := _ordered(branch.waits_for.plan)) is not None:
        line = supervisor.line_of(None)
    return line or line_of(branch.loop)


def _ordered(plan: object) -> OrderedSupervisor | None:
    return cast("OrderedSupervisor", plan.supervisor) if isinstance(plan, Supervision) and plan.in_order else None


STARTED = "!"
"""Ends the path of the row that a child was started with."""


def diverged(
    tree: Tree,
    row: Row,
    asked: OpenStep | None = None,
    problem: Exception | None = None,
    raised: Exception | None = None,
) -> Diverged:
    """Describe a row that does not fit the program.

    Args:
        tree: the program's branches.
        row: the row.
        asked: the instruction at its path, if it is known.
        problem: why the row cannot be decoded.
        raised: the exception at which the program stopped before the row.
    """
    asked = asked or tree.asked.get(row.path.removesuffix(STARTED))
    head, dot, _ = row.path.rpartition(".")
    branch = asked.branch if asked is not None else tree.branches.get(head + dot) or tree.branches.get("")
    line = None if branch is None else line_of_branch(branch)
    performed = None if asked is None else asked.name
    if raised is not None:
        text = f"the program raised {excerpt(raised)} before the recorded {row.name!r}"
    elif problem is not None:
        text = f"the recorded outcome of {row.name!r} cannot be decoded: {problem}"
    else:
        recorded = "the workflow waits for" if row.form == "waiting" else "the journal holds"
        performs = "does not perform it" if performed is None else f"performs {performed!r}"
        text = f"{recorded} {row.name!r}, and the program {performs}"
    where = f" ({line})" if line else ""
    return Diverged(
        "journal of a workflow",
        (f"step {row.path}: {text}{where}",),
        path=row.path,
        recorded=row.name,
        performed=performed,
        line=line,
    )


class Index:
    """The last number and the names of a journal's rows, by their branch's prefix.

    It reads no more rows than an answer needs: replaying a long journal must not block the event loop.
    """

    def __init__(self, bodies: Sequence[str], first: int = 0) -> None:
        self._bodies = bodies
        self._read = first
        self._last: dict[str, int] = {}
        self._names: dict[str, str] = {}

    def is_past(self, prefix: str, number: int, name: str) -> bool:
        """Return whether the journal continues in a branch from a number on, without a step of this name there.

        A branch's rows are ordered by number, so the first one from this number on decides.
        """
        # No further than needed: read in full, each patch would cost as much as the journal is long.
        while self._last.get(prefix, -1) < number and self._read < len(self._bodies):
            row = row_of(self._bodies[self._read])
            self._read += 1
            if row.form == "waiting":
                for path, waiting, _ in waits_in(row):
                    self._add(path, waiting)
            elif row.form not in {"cancelled", "arrived", "part"}:
                self._add(row.path.removesuffix(STARTED), row.name)
        return number <= self._last.get(prefix, -1) and self._names.get(f"{prefix}{number}") != name

    def _add(self, path: str, name: str) -> None:
        self._names.setdefault(path, name)
        while True:
            head, dot, tail = path.rpartition(".")
            prefix = head + dot
            self._last[prefix] = max(self._last.get(prefix, -1), int(tail))
            if not dot:
                return
            path = head.rpartition(".")[0]  # the path of the fork


# ---------------------------------------------------------------- forks
MAX_FORKED_BYTES: Final = 64 * 1024 * 1024
"""How much of a journal one fork takes over: one commit writes it."""

MAX_FORKED_PARTS: Final = 20
"""From how many workflows, each the fork of the one before, a journal's rows may be. Every commit writes their list."""

MAX_CONTINUED: Final = 100
"""How many stopped steps a fork continues at their heartbeats. Further ones begin at the beginning."""

_PATH: Final = re.compile(r"\d+(\.\d+)*")


@attrs.frozen(kw_only=True)
class JournalPrefix:
    """The part of a journal that a fork takes over.

    Attributes:
        step: the path of the first step that is performed again. Empty for the next one.
        bodies: the rows, then those of signals that arrived later.
        forked: whose rows they are.
        cut_ms: when the last of them was written.
        signals: the number of the last signal.
        waiting: how many signals wait.
        kept: how many steps have ended.
        cancel: the request to cancel it, if the program has received one.
        published: the values that the kept steps published.
        stopped: the paths of the steps that the cancellation stopped, if the fork continues there.
    """

    __repr__ = fields_in_line

    step: str
    bodies: tuple[str, ...]
    forked: ForkedFrom
    cut_ms: int
    signals: int
    waiting: int
    kept: int
    cancel: CancelRequest | None
    published: tuple[Publication, ...]
    stopped: tuple[str, ...] = ()


def prefix_of(
    source: str,
    header: Header,
    bodies: Sequence[str],
    wanted: ForkInput,
    most: int = MAX_FORKED_BYTES,
    promises: Container[str] = (),
    *,
    state: str,
) -> JournalPrefix | ForkRefused:
    """Return the rows that a fork takes over: those before the end of a step.

    Whatever has ended by then is kept: everything else is performed again, so steps, children and waits that were in
    progress begin again.

    Args:
        source: the workflow to fork, printed.
        header: its data.
        bodies: its rows.
        wanted: the step.
        most: the maximum number of bytes.
        promises: the names of its promises.
        state: the state that it was started with.

    Raises:
        InvalidInput: a row cannot be decoded.
    """
    rows = [row_of(body) for body in bodies]
    refused = partial(ForkRefused, source, wanted.step or "")
    found = _cut(header, rows, wanted.step)
    if found is None:
        return refused("no_step")
    place, step = found
    undoing = tuple(dict.fromkeys(row.name for row in rows[place:] if row.finalizer and row.form != "dropped"))
    is_kept = wanted.signals == "keep"
    kept = _with_named_parts(_kept(rows[:place], bodies, header.skips, keeps_signals=is_kept), state)
    # A compensation that is performed again belongs to the unwinding, which the kept rows have begun.
    inside = place < len(rows) and rows[place].finalizer
    if undoing and not inside and not wanted.accept_undone and any(row.form in _PERFORMED for row, _, _ in kept):
        return refused("undone", undoing)
    parts = _parts(header, [at for _, _, at in kept], place)
    later = [
        (row, body)
        for row, body in zip(rows[place:], bodies[place:], strict=True)
        if is_kept and row.form == "arrived" and not is_child_signal(row.name)
    ]
    taken = (*(body for _, body, _ in kept), *(body for _, body in later))
    if len(parts) > MAX_FORKED_PARTS or sum(map(len, taken)) > most:
        return refused("large")
    answers = [row for row, _, _ in kept if row.form not in _NO_ANSWERS and not row.path.endswith(STARTED)]
    received, names = {row.signal for row in answers}, {row.name for row in answers}
    arrived = [row for row, _, _ in kept if row.form == "arrived"] + [row for row, _ in later]
    cancelled = next((row for row in answers if row.form == "cancelled"), None)
    return JournalPrefix(
        step=step,
        bodies=taken,
        forked=ForkedFrom(address=source, step=step, parts=parts),
        cut_ms=max((row.at_ms for row in answers), default=header.started_ms),
        signals=header.signals,
        waiting=sum(1 for row in arrived if row.signal not in received and not is_child_signal(row.name)),
        kept=len(answers),
        cancel=None
        if cancelled is None
        else CancelRequest(reason=str(orjson.loads(cancelled.value)[0]), delivered=True),
        published=tuple(
            each
            for each in shared_in(header).published
            if f"{PUBLISH}{each.name}" in names
            # As a signal: one that the kept steps have not seen waits, unless the fork drops those.
            or (each.name in promises and (is_kept or f"{PROMISE}{each.name}" in names))
        ),
        # A fork from a step performs it from its beginning.
        stopped=_stopped(rows[place:]) if wanted.step is None else (),
    )


def _stopped(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the paths of the steps that a cancellation has stopped, of its row and those behind it."""
    # Compensations begin behind it, and a later step of the fork may have the path of one.
    return tuple(
        row.path for row in rows if row.form == "interrupted" and not row.finalizer and row.began_ms < rows[0].at_ms
    )[:MAX_CONTINUED]


_PERFORMED: Final = frozenset({"done", "failed", "interrupted"})


def _cut(header: Header, rows: Sequence[Row], step: str | None) -> tuple[int, str] | None:
    """Return the place of a step's answer, and the step's path. None if there is no such step."""
    present = range(header.skips, len(rows))
    cancelled = next((place for place in present if rows[place].form == "cancelled"), None)
    if step is None:
        if cancelled is not None:
            return cancelled, ""
        return (len(rows), "") if header.ended is None else None
    open_ = {each.path: each.name for each in header.failing} | {each.path: each.name for each in header.waits_for}
    path: str | None = step
    if _PATH.fullmatch(step) is None:
        named = (rows[place].path for place in present if rows[place].name == step and rows[place].form not in _UNNAMED)
        path = next(named, next((at for at, name in open_.items() if name == step), None))
    if not path:
        return None
    path = path.removesuffix(STARTED)
    # Its answer, and not its beginning: what began before and ended in between is kept.
    answered = (place for place in present if rows[place].form not in _NO_ANSWERS and _is_in(rows[place].path, path))
    if (place := next(answered, None)) is not None:
        # A step in progress ends behind the cancellation, which must not end the fork as well.
        return (place if cancelled is None or rows[place].finalizer else min(place, cancelled)), path
    began = any(_is_in(each, path) for place in present for each in _paths_of(rows[place]))
    return (len(rows), path) if path in open_ or began else None


_UNNAMED: Final = frozenset({"arrived", "part"})
_NO_ANSWERS: Final = frozenset({"arrived", "waiting", "part"})


def _is_in(path: str, step: str) -> bool:
    """Return whether a row's path is that of a step, or of one inside it. That of the start of a child is neither."""
    return path == step or path.startswith(f"{step}.")


def _paths_of(row: Row) -> list[str]:
    """Return the paths of the steps whose end, or whose beginning, a row notes."""
    if row.form == "waiting":
        return [path for path, _, _ in waits_in(row)]
    return [] if row.form in _UNNAMED else [row.path.removesuffix(STARTED)]


def _kept(rows: Sequence[Row], bodies: Sequence[str], skips: int, *, keeps_signals: bool) -> list[tuple[Row, str, int]]:
    """Return the rows of steps that have ended, and of signals, each with its place. Steps in progress are left out."""
    receipts = {row.signal: place for place, row in enumerate(rows) if row.signal and row.form != "arrived"}
    ended = {row.path for row in rows[skips:] if row.form not in _NO_ANSWERS}
    kept: list[tuple[Row, str, int]] = []
    for place, (row, body) in enumerate(zip(rows, bodies, strict=False)):
        if row.form == "arrived":
            received = receipts.get(row.signal)
            is_over = received is not None and received < skips
            # The end of a child that the fork starts again would be taken for the end of that one.
            if is_over or (received is None and (not keeps_signals or is_child_signal(row.name))):
                continue
        elif row.form == "part":  # whatever comes later may name it
            pass
        elif place < skips or (row.path.endswith(STARTED) and row.path.removesuffix(STARTED) not in ended):
            continue
        elif row.form == "waiting":
            waits = [wait for wait in waits_in(row) if wait[0] in ended]
            if not waits:
                continue
            body = body_of(row_of_waits(waits))  # noqa: PLW2901 - a part of it
        kept.append((row, body, place))
    return kept


def _with_named_parts(kept: Sequence[tuple[Row, str, int]], state: str) -> list[tuple[Row, str, int]]:
    """Return the rows without the parts that none of them names, nor the state: other steps' and emptied ones."""
    named = set(names_in(state)).union(*(names_in(row.value) for row, _, _ in kept if row.form != "part"))
    return [each for each in kept if each[0].form != "part" or each[0].name in named]


def _parts(header: Header, places: Sequence[int], cut: int) -> tuple[ForkedPart, ...]:
    """Return whose rows a fork's rows are. The time since the last row is added when the fork is stored."""
    parts: list[ForkedPart] = []
    for part in () if header.forked is None else header.forked.parts:
        rows = sum(1 for place in places if place < part.rows)
        if part.rows >= cut:
            # The fork continues before the fork of its source, whose pause does not count twice.
            return (*parts, ForkedPart(rows=len(places), run_id=part.run_id, gap_ms=0))
        parts.append(attrs.evolve(part, rows=rows))
    return (*parts, ForkedPart(rows=len(places), run_id=header.run_id, gap_ms=0))


@attrs.define(eq=False, repr=False)
class TakenOver:
    """The rows that a replayed workflow has from the one that it was forked from.

    Attributes:
        forked: that workflow. None for a workflow that is no fork.
        run_id: the workflow's own run id.
    """

    forked: ForkedFrom | None
    run_id: str
    bodies: Sequence[str]
    _performers: dict[str, str] | None = None

    def has(self, position: int) -> bool:
        """Return whether the program has received these rows only, after so many rows."""
        return self.forked is not None and position <= self.forked.rows

    def fits(self, row: Row, name: str, position: int) -> bool:
        """Return whether a row is that of an instruction. A fork has another id, and addresses may be made of it."""
        return row.name == name or (self.has(position) and without_id(row.name) == without_id(name))

    def counted_ms(self, at_ms: int, position: int) -> int:
        """Return the instant from which a time limit counts: the time before a fork, without a workflow, does not."""
        return at_ms if self.forked is None else at_ms + self.forked.gap_ms(position - 1)

    def chance(self, path: str) -> float:
        """Return a number in [0, 1) that is the same for the same step, also in the forks of the first workflow."""
        seed = self.run_id if self.forked is None else self.forked.parts[0].run_id
        # 53 bits, as many as a float has: more could be rounded up to 1.
        return (int.from_bytes(blake2b(f"{seed}/{path}".encode(), digest_size=7).digest()) >> 3) / 2**53

    def key(self, path: str) -> str:
        """Return a step's key: a fork has the keys of the steps that it took over, and its own for the others."""
        if self.forked is None:
            return f"{self.run_id}/{path}"
        if self._performers is None:
            # Backwards: of several rows with one path, the first one remains.
            rows = ((place, row_of(self.bodies[place])) for place in reversed(range(self.forked.rows)))
            parts = self.forked.parts
            self._performers = {
                row.path: next(part.run_id for part in parts if place < part.rows) for place, row in rows
            }
        return f"{self._performers.get(path, self.run_id)}/{path}"


def without_id(name: str) -> str:
    """Return a step's name without the id of the instance that it concerns."""
    if name.startswith(CHILD):
        return name.partition(":")[0]
    return name.rpartition(":")[0] if name.startswith((TELL, ASK)) else name
