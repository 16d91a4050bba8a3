"""The instances that a command means: by address, or by filter options, read page by page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Annotated, Final, TypeAlias, TypeVar

import attrs
from cyclopts import Parameter

from perdure.cli.process import UsageError
from perdure.cli.target.target import Target
from perdure.values.address import Address, promise_of
from perdure.values.attributes import checked_where
from perdure.values.errors import DefinitionError, InvalidArgument, InvalidId
from perdure.values.listings import Listed, ListedStatus, ListFilter
from perdure.values.times import duration_ms, to_ms

T = TypeVar("T")
K = TypeVar("K")

MAX_PAGE: Final = 1_000
"""The greatest page that an engine returns."""


def paged(
    read: Callable[[K, int], tuple[T, ...]], key: Callable[[T], K], after: K, most: int | None, *, page: int = MAX_PAGE
) -> Iterator[tuple[T, ...]]:
    """Yield pages until there are no more.

    Args:
        read: returns rows after a key, ordered by key, and no more than a limit.
        key: returns a row's key.
        after: the key to start after.
        most: the limit for all rows together. None for no limit.
        page: the most rows in one page.
    """
    left = most
    while left is None or left > 0:
        limit = page if left is None else min(left, page)
        rows = read(after, limit)
        if rows:
            yield rows
        if len(rows) < limit:
            return
        after = key(rows[-1])
        left = None if left is None else left - len(rows)


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

    where: Annotated[
        tuple[str, ...],
        Parameter(
            consume_multiple=False,
            negative="",
            help="Only instances with such an attribute, written 'amount>100'. Repeatable. It needs --job.",
        ),
    ] = ()

    @property
    def is_empty(self) -> bool:
        """Whether every instance matches."""
        return self == ALL


ALL: Final = FilterOptions()


def list_filter(options: FilterOptions, *, after: Address | None = None, limit: int = MAX_PAGE) -> ListFilter:
    """Return the filter that the options describe.

    Args:
        options: the options.
        after: the previous page's last address.
        limit: the most instances in one page.

    Raises:
        UsageError: an option is not valid, or contradicts another one.
    """
    kind, name = _job(options)
    if options.where and name is None:
        raise UsageError("--where: conditions are on the attributes of one job; pass --job kind:name as well")
    try:
        where = checked_where(options.where, "--where")
    except InvalidArgument as error:
        raise UsageError(str(error)) from error
    return ListFilter(
        kind=kind,
        name=name,
        status=options.status,
        id_prefix=options.id_prefix,
        due_before_ms=_due_before_ms(options),
        where=where,
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


def settled_by(text: str) -> tuple[Address, str]:
    """Parse a promise's id: the workflow, and the name.

    Raises:
        UsageError: it is not ``workflow:JOB:ID/NAME``.
    """
    try:
        return promise_of(text)
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


INCOMPLETE: Final = (
    "some instances may be missing: an attribute is being filled, other code writes the job, or a value could not be "
    "computed; see the engine's log"
)


def pages(
    target: Target, wanted: ListFilter, most: int | None, incomplete: Callable[[], None]
) -> Iterator[tuple[Listed, ...]]:
    """Yield instance pages until there are no more.

    Args:
        target: the engine or the store.
        wanted: the filter, from the first page on.
        most: the limit for all pages together. None for no limit.
        incomplete: called for a page in which instances may be missing.
    """

    def read(after: Address | None, limit: int) -> tuple[Listed, ...]:
        found = target.find(attrs.evolve(wanted, after=after, limit=limit))
        if not found.complete:
            incomplete()
        return found.instances

    return paged(read, _address, wanted.after, most)


def _refuse() -> None:
    # A change of many must not silently leave some out.
    raise UsageError(INCOMPLETE)


def _address(listed: Listed) -> Address | None:
    return listed.address


MAX_SELECTED: Final = 100_000
"""Instances in one command."""

EveryOption: TypeAlias = Annotated[bool, Parameter(name="--all", negative="", help="Select every instance.")]
"""The option ``--all`` for commands that change instances."""


def selected(target: Target, addresses: tuple[str, ...], wanted: FilterOptions, *, every: bool) -> tuple[Address, ...]:
    """Return the addresses that a command changes.

    Args:
        target: the engine.
        addresses: named by the caller.
        wanted: the filter.
        every: whether all instances are selected.

    Raises:
        UsageError: the caller named none, or named and filtered, or selected too many.
    """
    if addresses:
        if every or not wanted.is_empty:
            raise UsageError("addresses and a filter select the instances twice; pass one of them")
        return tuple(dict.fromkeys(address_of(each) for each in addresses))
    if wanted.is_empty and not every:
        raise UsageError("no instance is selected; pass addresses, a filter such as --job kind:name, or --all")
    found: list[Address] = []
    for page in pages(target, list_filter(wanted), MAX_SELECTED + 1, _refuse):
        found += [each.address for each in page]
    if len(found) > MAX_SELECTED:
        raise UsageError(f"more than {MAX_SELECTED:,} instances match; narrow the filter")
    return tuple(found)


AddressArgument: TypeAlias = Annotated[
    str, Parameter(name="ADDRESS", help="The instance, written kind:name:id, such as task:orders:42.")
]
