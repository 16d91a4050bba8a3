"""The operations that commands need, whatever answers them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import attrs

from perdure.values.excerpt import excerpt, fields_in_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from returns.result import Result

    from perdure.jobs.request import WaitFor
    from perdure.values.address import Address
    from perdure.values.listings import (
        InstanceOutcome,
        ListFilter,
        Listing,
    )
    from perdure.values.status_wait import Awaited, AwaitedStatus, CallEnd, PublishedValue, UpdateReply
    from perdure.values.stream import StreamPage
    from perdure.values.times import Duration
    from perdure.wire.operations import ClientOperation

A = TypeVar("A")


@attrs.frozen(kw_only=True)
class InstanceRequest:
    """A request to one instance.

    Attributes:
        action: such as ``send``.
        payload: the input as JSON text. Empty if the action takes none.
        interrupt: whether ``terminate`` cancels a run in progress.
    """

    __repr__ = fields_in_line

    address: Address
    action: str
    payload: str = attrs.field(default="", repr=excerpt)
    key: str | None = None
    wait_for: WaitFor = "completion"
    interrupt: bool = False


class Target(Protocol):
    """A running engine or a file. Every operation raises a `PerdureError` if it fails."""

    @property
    def hides_secrets(self) -> bool:
        """Whether ``state`` hides the values that definitions mark as secret."""
        ...

    @property
    def name(self) -> str:
        """The URL, for messages."""
        ...

    def check_engine(self) -> None:
        """Check that an engine answers, before the user is asked about a change."""
        ...

    def perform(self, operation: ClientOperation[A], /, **given: object) -> A:
        """Perform an operation.

        Args:
            operation: an entry in `perdure.wire.operations`.
            **given: its arguments.
        """
        ...

    def find(self, wanted: ListFilter, /) -> Listing:
        """Find instances, ordered by address."""
        ...

    def state(self, address: Address, /) -> object:
        """Read an instance's state as JSON-able data. None if there is no instance."""
        ...

    def outcome(self, address: Address, /) -> InstanceOutcome | None:
        """Read how an instance ended, without secrets. None if it has not, or if that is not known here."""
        ...

    def until(
        self, address: Address, statuses: tuple[AwaitedStatus, ...], phases: tuple[str, ...], within: Duration, /
    ) -> Awaited:
        """Wait until an instance has one of these statuses or phases."""
        ...

    def explain(self, asked: InstanceRequest, /) -> dict[str, Any]:
        """Compute a request's effect without applying it. See `perdure.wire.explanation`."""
        ...

    def future(self, address: Address, question: bytes, /) -> dict[str, Any]:
        """Compute an instance's future. See `perdure.rehearsal.timeline`."""
        ...

    def call(self, asked: InstanceRequest, /) -> object:
        """Send a request, and return its answer as JSON-able data."""
        ...

    def calls(self, asked: Sequence[InstanceRequest], /) -> tuple[Result[object, Any], ...]:
        """Send up to 1,000 requests at the same time, and return how each ended."""
        ...

    def update(self, asked: InstanceRequest, within: Duration, /) -> UpdateReply:
        """Send an update, whose name is the request's action, and wait for its reply."""
        ...

    def published(self, address: Address, name: str, within: Duration, /) -> PublishedValue:
        """Read a value that an instance publishes, or wait for it."""
        ...

    def stream_page(self, address: Address, stream: str, after: int, wait_ms: int, /) -> StreamPage:
        """Read the items of a stream after an offset. Wait a while for the first item."""
        ...

    def call_and_wait(self, asked: InstanceRequest, within: Duration, /) -> CallEnd:
        """Send a request, and wait until its work is over."""
        ...


def of_instance(target: Target, operation: ClientOperation[A], at: Address, **given: object) -> A:
    """Perform an operation on one instance.

    Args:
        target: performs it.
        operation: an entry in `perdure.wire.operations`.
        at: the instance.
        **given: the arguments beside its address.
    """
    return target.perform(operation, kind=at.kind, name=at.name, id=at.id, **given)
