"""How calls are made: one that returns its error as a value, several at the same time, and the checks of arguments.

A check names the argument, the values that it accepts and the value that was passed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final, Never, TypeVar, cast

from returns.result import Failure, Result, Success

from perdure.jobs.call import Call, result_of
from perdure.jobs.definition import AnyDefinition, Definition
from perdure.runtime.record import Runtime
from perdure.values.attributes import checked_where
from perdure.values.errors import InvalidArgument
from perdure.values.excerpt import excerpt
from perdure.values.listings import ListFilter
from perdure.values.status_wait import AWAITED_STATUSES, WaitCondition
from perdure.values.times import to_ms
from perdure.wire.operations import LIST, check_text

A = TypeVar("A")
E = TypeVar("E", bound=Exception)


async def attempt(call: Call[A, E], /) -> Success[A] | Failure[E]:
    """Make a call and return how it ended, as a value to ``match`` on. ``await call`` alone raises the error.

    The result is a closed union: in each ``case`` both type checkers know the answer's type or the error's type, and
    that ``case Success(...)`` with ``case Failure(...)`` is exhaustive.

    Args:
        call: a handle's call, such as ``jobs.handle(orders).send("order-1", event)``.

    Returns:
        ``Success(answer)`` or ``Failure(error)``.

    Raises:
        AlreadyAwaited: the call was awaited before.
        TypeError: the argument is not a call.
    """
    if type(call) is not Call:  # pyright: ignore[reportUnnecessaryComparison] - untyped callers
        expected = "a call that was not awaited, such as attempt(jobs.handle(orders).send(...))"
        raise TypeError(f"argument of attempt: expected {expected}; got {excerpt(call)}")
    ended: Any = await result_of(call)
    result: Success[A] | Failure[E] = ended
    return result


async def concurrently(
    runtime: Runtime, calls: Sequence[Call[Any, Any]]
) -> Result[tuple[Result[Any, Any], ...], Never]:
    """Await calls, each in its own task. If this is cancelled, so are they.

    Args:
        runtime: starts the tasks.
        calls: the calls, none of them awaited yet.
    """
    # All tasks exist before the first is awaited: awaited one by one, the calls would not share transactions.
    tasks = [runtime.spawn(_answer(call), name="perdure:one of several calls") for call in calls]
    try:
        return Success(tuple([await task for task in tasks]))
    # If the caller is cancelled in the middle, no call may continue without it.
    finally:
        for task in tasks:
            task.cancel()


async def _answer(call: Call[Any, Any]) -> Result[Any, Any]:
    return await result_of(call)


MAX_TOGETHER: Final = 1_000
"""Calls that are made together."""


def check_together(calls: object) -> Sequence[Call[Any, Any]]:
    """Check the calls that are made together.

    Raises:
        InvalidArgument: there are more than 1,000, one is not a call, or one is there twice.
    """
    expected = f"at most {MAX_TOGETHER:,} different calls, none awaited, such as [flow.start(...), flow.cancel(...)]"
    # Not read further: an endless generator must end in an error.
    asked: Any = calls  # of an untyped caller
    # One more than the limit is read: it shows that there are too many.
    given: list[Any] = list(islice(asked, MAX_TOGETHER + 1)) if isinstance(calls, Iterable) else []
    wrong: object = None
    if not isinstance(calls, Iterable) or len(given) > MAX_TOGETHER:
        wrong = asked
    elif not all(type(call) is Call for call in given):
        wrong = next(call for call in given if type(call) is not Call)
    # By identity: a call is awaited once, and its second use would wait for ever.
    elif len({id(call) for call in given}) < len(given):
        wrong = "the same call twice"
    else:
        return given
    for call in given:
        if type(call) is Call:
            call.close()  # Python would warn about each of them
    raise InvalidArgument("calls of together", wrong, expected)


MAX_WANTED: Final = 20
"""Statuses and phases of one wait."""


def check_definition(value: object, *, of: str) -> AnyDefinition:
    """Check a definition.

    Raises:
        InvalidArgument: the value is not a definition.
    """
    if isinstance(value, Definition):
        return value  # pyright: ignore[reportUnknownVariableType] - its types are erased here
    raise InvalidArgument(f"definition of {of}", value, "a definition, such as a Task(...) or a Workflow(...)")


def list_filter(
    definition: object,
    *,
    kind: object,
    name: object,
    status: object,
    id_prefix: object,
    due_before: object,
    where: object,
    after: object,
    limit: object,
    max_scanned: object,
) -> ListFilter:
    """Check the ``list`` arguments.

    Raises:
        InvalidArgument: an argument is not valid. The message names it.
    """
    if definition is not None:
        if kind is not None or name is not None:
            raise InvalidArgument("kind and name of list", (kind, name), "None beside a definition, which has both")
        job = check_definition(definition, of="list")
        kind, name = job.kind, job.name
    checked = LIST.checked(
        {
            "kind": kind,
            "name": name,
            "status": status,
            "id_prefix": id_prefix,
            "due_before": due_before,
            "where": checked_where(where, "where of list"),
            "after": after,
            "limit": limit,
            "max_scanned": max_scanned,
        }
    )
    due: datetime | None = checked.pop("due_before")
    return ListFilter(**checked, due_before_ms=None if due is None else to_ms(due))


def check_backup(path: object, progress: object) -> str:
    """Check a backup's arguments, and return its path as text.

    Raises:
        InvalidArgument: the path is neither text nor a path object, or ``progress`` cannot be called.
    """
    if not callable(progress):
        raise InvalidArgument("progress of backup", progress, "a function of one BackupProgress")
    given: object = path
    if isinstance(given, os.PathLike):
        given = os.fspath(given)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - text or bytes
    # A null byte ends the path for the operating system: the file would have another name.
    if isinstance(given, str) and given and "\0" not in given:
        return given
    raise InvalidArgument("path of backup", path, "the path of a new file, as text or as a path object")


def check_wanted(statuses: tuple[object, ...], phases: object) -> WaitCondition:
    """Check a wait's statuses and phases. Without any, it waits for the end.

    Raises:
        InvalidArgument: a status or phase is not valid, or there are more than 20.
    """
    for status in statuses:
        if status not in AWAITED_STATUSES:
            raise InvalidArgument("status of until", status, f"one of {', '.join(AWAITED_STATUSES)}")
    given = cast("tuple[object, ...]", phases)
    if not isinstance(phases, tuple) or len(statuses) + len(given) > MAX_WANTED:
        raise InvalidArgument("phases of until", given, f"a tuple of texts, at most {MAX_WANTED} with the statuses")
    words = tuple(check_text(phase, what="phase of until") for phase in given)
    named = tuple(str(status) for status in statuses)
    return WaitCondition(named, words) if named or words else WaitCondition()
