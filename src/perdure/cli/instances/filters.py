"""The options that select instances."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Final

import attrs
from cyclopts import Parameter

from perdure.cli.paging import MAX_PAGE
from perdure.cli.usage_error import UsageError
from perdure.values.address import Address
from perdure.values.errors import DefinitionError, InvalidId
from perdure.values.listings import ListedStatus, ListFilter
from perdure.values.times import duration_ms, to_ms


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class FilterOptions:
    """The conditions, which must all hold."""

    job: Annotated[str | None, Parameter(help="Only this job, written kind:name.")] = None
    kind: Annotated[str | None, Parameter(help="Only this kind of job, such as task.")] = None
    status: Annotated[
        ListedStatus | None,
        Parameter(help="Only this status. orphaned: instances of jobs that the engine does not serve."),
    ] = None
    id_prefix: Annotated[str, Parameter(help="Only ids that begin with this text.", show_default=False)] = ""
    due_before: Annotated[
        str | None, Parameter(help="Only instances that are due before this instant, such as 2026-01-01T00:00:00Z.")
    ] = None
    due_in: Annotated[
        str | None, Parameter(help='Only instances that are due within this time from now, such as "5 minutes".')
    ] = None

    @property
    def is_empty(self) -> bool:
        """Whether every instance matches."""
        return self == ALL


ALL: Final = FilterOptions()


def list_filter(options: FilterOptions, *, after: Address | None = None, limit: int = MAX_PAGE) -> ListFilter:
    """Return the filter that the options describe.

    Args:
        options: the options.
        after: the last address of the previous page.
        limit: maximum number of a page.

    Raises:
        UsageError: an option is not valid, or contradicts another one.
    """
    kind, name = _job(options)
    return ListFilter(
        kind=kind,
        name=name,
        status=options.status,
        id_prefix=options.id_prefix,
        due_before_ms=_due_before_ms(options),
        after=after,
        limit=limit,
    )


def address_of(text: str) -> Address:
    """Parse an address.

    Raises:
        UsageError: it is not ``kind:name:id``.
    """
    try:
        return Address.parse(text)
    except InvalidId as error:
        raise UsageError(str(error)) from error


def _job(options: FilterOptions) -> tuple[str | None, str | None]:
    if options.job is None:
        return options.kind, None
    kind, colon, name = options.job.partition(":")
    if not (kind and colon and name) or ":" in name:
        raise UsageError(f"--job {options.job}: expected kind:name, such as task:orders")
    if options.kind not in (None, kind):
        raise UsageError(f"--job {options.job} is not of --kind {options.kind}; pass one of them")
    return kind, name


def _due_before_ms(options: FilterOptions) -> int | None:
    if options.due_before is not None and options.due_in is not None:
        raise UsageError("--due-before and --due-in are two limits of one instant; pass one of them")
    try:
        if options.due_in is not None:
            return time.time_ns() // 1_000_000 + duration_ms(options.due_in, what="--due-in", minimum_ms=0)
        if options.due_before is not None:
            return to_ms(_instant(options.due_before), what="--due-before")
    except DefinitionError as error:
        raise UsageError(str(error)) from error
    return None


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--due-before {text}: expected an instant such as 2026-01-01T00:00:00Z") from error
    if instant.tzinfo is None:
        raise UsageError(f"--due-before {text}: it has no time zone; write it such as 2026-01-01T00:00:00Z")
    return instant
