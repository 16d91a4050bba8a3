"""Arguments of calls: each check names the argument, the values that it accepts and the value that was passed."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Final, cast

from perdure.jobs.definition import AnyDefinition, Definition
from perdure.values.address import MAX_ID_CHARACTERS, Address, is_text
from perdure.values.errors import DefinitionError, InvalidArgument
from perdure.values.listings import LISTED_STATUSES, ListFilter
from perdure.values.status_wait import AWAITED_STATUSES, WaitCondition
from perdure.values.times import Duration, duration_ms, to_ms

MAX_PAGE: Final = 1_000
MAX_WANTED: Final = 20
"""Statuses and phases of one wait."""
MAX_NUMBER: Final = 2**63 - 1
"""The greatest sequence number or message id of a store."""


def check_whole(value: object, *, what: str, least: int, most: int) -> int:
    """Check a whole number within these bounds, inclusive.

    Raises:
        InvalidArgument: the value is not such a number.
    """
    if type(value) is int and least <= value <= most:
        return value
    raise InvalidArgument(what, value, f"a whole number from {least} to {most}")


def check_limit(value: object, *, of: str) -> int:
    """Check the size of a page.

    Raises:
        InvalidArgument: the value is not a whole number from 1 to 1,000.
    """
    return check_whole(value, what=f"limit of {of}", least=1, most=MAX_PAGE)


def check_history(before: object, limit: object) -> tuple[int | None, int]:
    """Check the page of a history.

    Raises:
        InvalidArgument: ``before`` is not a sequence number or None, or ``limit`` is not from 1 to 1,000.
    """
    size = check_limit(limit, of="history")
    if before is None:
        return None, size
    return check_whole(before, what="before of history", least=0, most=MAX_NUMBER), size


def check_definition(value: object, *, of: str) -> AnyDefinition:
    """Check a definition.

    Raises:
        InvalidArgument: the value is not a definition.
    """
    if isinstance(value, Definition):
        return value  # pyright: ignore[reportUnknownVariableType] - its types are erased here
    raise InvalidArgument(f"definition of {of}", value, "a definition, such as a Task(...) or a Workflow(...)")


def check_text(value: object, *, what: str) -> str:
    """Check text of at most 512 characters that UTF-8 can encode. It may be empty.

    Raises:
        InvalidArgument: the value is not such text.
    """
    if isinstance(value, str) and _is_text(value):
        return value
    expected = f"text of at most {MAX_ID_CHARACTERS} characters, without lone surrogates"
    raise InvalidArgument(what, value, expected)


def check_due_before(value: object) -> int | None:
    """Check an aware instant or None, and return it as milliseconds UTC.

    Raises:
        InvalidArgument: the value is neither.
    """
    try:
        return None if value is None else to_ms(cast("datetime", value))
    except DefinitionError as wrong:
        raise InvalidArgument("due_before of list", value, wrong.expected) from wrong


def check_after(value: object) -> Address | None:
    """Check the address of an instance, or None.

    Raises:
        InvalidArgument: the value is neither.
    """
    if value is None or (isinstance(value, Address) and all(map(_is_text, (value.kind, value.name, value.id)))):
        return value
    raise InvalidArgument("after of list", value, "the address of the last instance of the page before, or None")


def _check_scanned(value: object) -> int:
    return check_whole(value, what="max_scanned of list", least=1, most=MAX_NUMBER)


def list_filter(
    definition: object,
    *,
    kind: object,
    name: object,
    status: object,
    id_prefix: object,
    due_before: object,
    after: object,
    limit: object,
    max_scanned: object,
) -> ListFilter:
    """Check the arguments of ``list``.

    Raises:
        InvalidArgument: one of them is not valid; its message names it.
    """
    if definition is not None:
        if kind is not None or name is not None:
            raise InvalidArgument("kind and name of list", (kind, name), "None beside a definition, which has both")
        job = check_definition(definition, of="list")
        kind, name = job.kind, job.name
    if status is not None and status not in LISTED_STATUSES:
        raise InvalidArgument("status of list", status, f"one of {', '.join(LISTED_STATUSES)}, or None")
    return ListFilter(
        kind=None if kind is None else check_text(kind, what="kind of list"),
        name=None if name is None else check_text(name, what="name of list"),
        status=status,
        id_prefix=check_text(id_prefix, what="id_prefix of list"),
        due_before_ms=check_due_before(due_before),
        after=check_after(after),
        limit=check_limit(limit, of="list"),
        max_scanned=None if max_scanned is None else _check_scanned(max_scanned),
    )


def _is_text(part: object) -> bool:
    return part == "" or is_text(part, MAX_ID_CHARACTERS)


def check_backup(path: object, progress: object) -> str:
    """Check the arguments of a backup, and return its path as text.

    Raises:
        InvalidArgument: the path is neither text nor a path object, or ``progress`` cannot be called.
    """
    if not callable(progress):
        raise InvalidArgument("progress of backup", progress, "a function of one BackupProgress")
    given: object = path
    if isinstance(given, os.PathLike):
        given = os.fspath(given)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - text or bytes
    if isinstance(given, str) and given and "\0" not in given:
        return given
    raise InvalidArgument("path of backup", path, "the path of a new file, as text or as a path object")


def check_wanted(statuses: tuple[object, ...], phases: object) -> WaitCondition:
    """Check the statuses and phases of a wait; without any, it waits for the end.

    Raises:
        InvalidArgument: one of them is not valid, or there are more than 20.
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


def check_timeout(value: object) -> int:
    """Check how long a wait may take, and return it in milliseconds.

    Raises:
        InvalidArgument: the value is not a duration.
    """
    try:
        return duration_ms(cast("Duration", value), what="timeout of until", minimum_ms=0)
    except DefinitionError as wrong:
        raise InvalidArgument("timeout of until", value, wrong.expected) from wrong
