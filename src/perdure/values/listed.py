"""Lists of instances: the filter of a caller, and one line of the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias, get_args, overload

import attrs

from perdure.values.address import Address
from perdure.values.answer import InstanceStatus
from perdure.values.excerpt import fields_in_line
from perdure.values.status import Status

ListedStatus: TypeAlias = Literal[Status, "orphaned"]
"""The status of an instance in a list: ``orphaned`` when the engine does not serve its job."""

LISTED_STATUSES: Final[tuple[ListedStatus, ...]] = get_args(ListedStatus)


@attrs.frozen(kw_only=True)
class Listed:
    """One instance in a list.

    Attributes:
        address: kind, job and id.
        status: its status; ``orphaned`` when the engine does not serve its job.
        report: its report, as ``status`` returns it.
    """

    __repr__ = fields_in_line

    address: Address
    status: ListedStatus
    report: InstanceStatus


@attrs.frozen(kw_only=True)
class ListFilter:
    """The instances that a caller asks for, in the order of their addresses. All arguments are checked.

    Attributes:
        kind: only this kind; None for every kind.
        name: only jobs of this name; None for every job, served or not.
        status: only this status; None for every status.
        id_prefix: only ids that begin with this text.
        due_before_ms: only instances that are due before this instant.
        after: the last address of the previous page.
        limit: maximum number.
        max_scanned: about how many instances the store may read to find them; None for all.
    """

    __repr__ = fields_in_line

    kind: str | None = None
    name: str | None = None
    status: ListedStatus | None = None
    id_prefix: str = ""
    due_before_ms: int | None = None
    after: Address | None = None
    limit: int = 100
    max_scanned: int | None = None


@attrs.frozen(kw_only=True)
class Listing(Sequence[Listed]):
    """A page of instances: a sequence of them, which also says where the next page begins.

    Attributes:
        instances: the instances, in the order of their addresses.
        after: the address to continue after, as ``after=`` of the next call; None at the end of the list.
        partial: whether the search stopped at ``max_scanned``, before the page was full and before the end.
    """

    __repr__ = fields_in_line

    instances: tuple[Listed, ...] = ()
    after: Address | None = None
    partial: bool = False

    @overload
    def __getitem__(self, index: int) -> Listed: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Listed, ...]: ...
    def __getitem__(self, index: int | slice) -> Listed | tuple[Listed, ...]:
        """Return one instance, or some of them."""
        return self.instances[index]

    def __len__(self) -> int:
        return len(self.instances)
