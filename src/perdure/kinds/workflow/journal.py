"""The journal: its rows, step names, codecs for step outcomes, and differences from a program."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from functools import cache
from types import GeneratorType
from typing import Any, Final, Literal, TypeAlias, cast

import attrs
import orjson
from returns.result import Failure, Success

from perdure.codecs import Codec
from perdure.jobs.context import Post
from perdure.jobs.draft import Draft
from perdure.kinds.workflow.errors import Diverged, NotRecordable
from perdure.kinds.workflow.header import PUBLISHED, Publication
from perdure.kinds.workflow.instructions import (
    AskInstance,
    CallChild,
    OneStep,
    Patched,
    Publish,
    Receive,
    SendReply,
)
from perdure.kinds.workflow.tree import OpenStep, Tree
from perdure.programs import ServiceCall
from perdure.programs.effect_results import Declared, Undeclared, declared_by
from perdure.programs.instructions import DO, Deadline, Gather, Race, Sleep, SleepUntil, Supervision
from perdure.programs.interpreter import Fork, Loop, stack_of
from perdure.values.errors import DefinitionError, InvalidInput
from perdure.values.excerpt import excerpt, fields_in_line, size_only
from perdure.values.frozen import turn_value

Form: TypeAlias = Literal[
    "done", "failed", "mark", "dropped", "interrupted", "timed_out", "cancelled", "arrived", "waiting"
]
"""The form of an answer:

``done`` a value, ``failed`` a typed error, ``mark`` no value, ``dropped`` the halt of a branch whose fork was decided,
``interrupted`` the same after the step had begun, so that its effect may have happened,
``timed_out`` the end of a time limit, ``cancelled`` the halt of the workflow. A row that ``arrived`` is not an answer:
it is a signal or the end of a child, which a later row receives. Nor is one of ``waiting``: it holds the waits that the
program has reached, so that a restart neither moves them nor finds another program there.
"""


@turn_value(kw_only=True)
class Row:
    """One answer that the program received.

    Attributes:
        path: the instruction's number. In a fork's branch, the fork's path and the branch come first.
        name: the step's name.
        form: the answer's form.
        at_ms: when the step ended: the program's clock.
        began_ms: when the step's last attempt began, or when the program reached the wait.
        attempts: the step's attempts.
        value: the value as JSON. Empty for a form that has none.
        secret: whether the value has secrets.
        signal: the number for the signal that arrives or is received. 0 for all other rows. A receipt's row does not
            repeat the value.
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


def body_of(row: Row) -> str:
    """Encode a row: one JSON line, then the value."""
    head = [row.path, row.name, row.form, row.at_ms, row.at_ms - row.began_ms, row.attempts]
    if row.signal:
        head += [int(row.secret), row.signal]
    elif row.secret:
        head.append(1)
    return f"{orjson.dumps(head).decode()}\n{row.value}"


def row_of(body: str) -> Row:
    """Decode a row.

    Raises:
        InvalidInput: this code cannot decode it.
    """
    head, _, value = body.partition("\n")
    try:
        path, name, form, at_ms, took_ms, attempts, *more = orjson.loads(head)
        secret, signal = (*more, 0, 0)[:2]
        return Row(
            path=path,
            name=name,
            form=form,
            at_ms=at_ms,
            began_ms=at_ms - took_ms,
            attempts=attempts,
            value=value,
            secret=bool(secret),
            signal=signal,
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

UPDATE: Final = "update "
"""Begins the name of the step that receives an update."""

ASK: Final = "await "
"""Begins the name of the step that waits for something of another instance."""

REPLY: Final = "reply "
"""Begins the name of the step that answers an update."""

NAMES: Final[Mapping[type, Callable[[Any], str]]] = {
    ServiceCall: lambda call: cast("str", call.name),
    OneStep: lambda one: cast("str", one.name),
    Sleep: lambda _: "sleep",
    SleepUntil: lambda _: "sleep until",
    Receive: lambda receive: f"{UPDATE if receive.is_update else SIGNAL}{receive.name}",
    SendReply: lambda reply: f"{REPLY}{reply.update.name}",
    Post: lambda post: f"tell {post.target}.{post.action}",
    CallChild: lambda call: f"{CHILD}{call.job.name}:{call.id}",
    AskInstance: lambda ask: f"{ASK}{ask.target} {ask.wants}",
    Publish: lambda publish: f"publish {publish.published.name}",
    Patched: lambda patched: f"patch {patched.name}",
    Fork: lambda fork: _FORKS[type(fork.plan)],
}
_FORKS: Final[Mapping[type, str]] = {Gather: "gather", Race: "race", Deadline: "timeout", Supervision: "supervised"}
"""The name of each instruction that has a place in the journal."""


Codecs: TypeAlias = tuple[Codec[Any], Codec[Any] | None]
"""The codec of the values and that of the typed errors."""


def codecs_of(instruction: ServiceCall | OneStep) -> Codecs:
    """Return the codecs for a step's outcome.

    Raises:
        NotRecordable: the function's annotation does not declare them.
    """
    if isinstance(instruction, OneStep):
        return instruction.values, instruction.errors
    return _codecs(instruction.fn, instruction.name)


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
    instruction: ServiceCall | OneStep, outcome: Success[Any] | Failure[Any], most: int, encode: Encode
) -> tuple[bytes, bool]:
    """Return an outcome's JSON, and whether it has secrets.

    Args:
        instruction: the step.
        outcome: the step's outcome.
        most: the maximum number of bytes.
        encode: encodes a value with a codec.

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
    return recordable(instruction.name, encode(codec, value), most), codec.secret


def recordable(name: str, outcome: bytes, most: int) -> bytes:
    """Return an encoded outcome.

    Raises:
        NotRecordable: it is larger than the limit.
    """
    # Each replay reads all rows: large ones would be read many times.
    if len(outcome) > most:
        raise NotRecordable(name, f"it has {len(outcome)} bytes, more than payload_bytes ({most}); return a reference")
    return outcome


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


def reply_in(bodies: Sequence[str], number: int) -> tuple[Literal["done", "failed"], str] | None:
    """Return the form and the value of an update's reply. None if these rows have none."""
    for body in bodies:
        if _REPLY_MARK in body.partition("\n")[0]:
            row = row_of(body)
            if row.name.startswith(REPLY) and row.form == "done":
                answered, form, value = orjson.loads(row.value)
                if answered == number:
                    return "failed" if form == "failed" else "done", value
    return None


_REPLY_MARK: Final = f'"{REPLY}'


def is_reply(body: str) -> bool:
    """Return whether a row is the reply to an update."""
    return _REPLY_MARK in body.partition("\n")[0]


def line_of(loop: Loop[Any, Any]) -> str | None:
    """Return the file and line where a waiting program's innermost do-block is. None outside any do-block.

    Args:
        loop: the program's interpreter.
    """
    for tag, payload in reversed(stack_of(loop)):
        if tag == DO and isinstance(payload, GeneratorType) and payload.gi_frame is not None:
            code = payload.gi_frame.f_code
            return f"{code.co_filename}:{payload.gi_frame.f_lineno} in {code.co_name}"
    return None


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
    line = None if branch is None else line_of(branch.loop)
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
            elif row.form not in {"cancelled", "arrived"}:
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
