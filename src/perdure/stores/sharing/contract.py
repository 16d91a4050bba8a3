"""The operations that only a shared store has: membership, and the work that is divided among its engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs
from returns.future import FutureResult

from perdure.stores.sharing.member import Members, Served
from perdure.stores.sharing.share import Share
from perdure.values.errors import StoreError
from perdure.values.instance import Instance
from perdure.values.message import StoredMessage
from perdure.values.turn_inputs import OtherEngines

if TYPE_CHECKING:
    from perdure.stores.store import DuePosition


class HeartbeatOperation(Protocol):
    """The function ``heartbeat``."""

    def __call__(self, served: Served, /) -> FutureResult[Members, StoreError]:
        """Renew the lease of this engine, and return the members."""
        ...


class MembersOperation(Protocol):
    """The function ``members``."""

    def __call__(self) -> FutureResult[Members, StoreError]:
        """Return the members."""
        ...


class DueInShareOperation(Protocol):
    """The function ``due``."""

    def __call__(
        self, now_ms: int, limit: int, share: Share, after: DuePosition | None = None, /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return the instances of a share that are due at an instant, earliest first."""
        ...


class MessagesInShareOperation(Protocol):
    """The function ``messages``."""

    def __call__(
        self, now_ms: int, limit: int, share: Share, others: OtherEngines, old_ms: int, /
    ) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        """Return the messages that one engine may deliver now."""
        ...


class AbandonedOperation(Protocol):
    """The function ``abandoned``."""

    def __call__(
        self, after_incarnation: int, limit: int, share: Share, others: OtherEngines, /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return the instances of a share with a claim of an engine that is dead."""
        ...


@attrs.frozen(kw_only=True)
class Sharing:
    """The operations of a shared store, besides those of every store.

    Every opening is a member from the beginning, with a lease that its heartbeats renew. The store's clock alone
    decides when a lease has ended. The fence of ``commit`` is the only guarantee of correctness: membership and shares
    only decide which engine does the work, so a different view of them costs a conflict, and nothing else.

    Attributes:
        lease_ms: how long a lease lasts, from the opening and from each heartbeat.
        heartbeat: ``(served)``: declares dead every other member whose lease has ended, renews the lease of this one,
            states which jobs it serves, and returns the members, in one transaction. An opening that was declared dead
            stays dead: this and each later operation of it returns ``OwnershipLost``, and nothing is written. Until
            then its operations continue, also after its lease. ``close`` ends the membership at once.
        members: ``()``: the members, without a renewal.
        due: ``(now_ms, limit, share, after)``: of what ``Store.due`` returns, the instances of the share.
        messages: ``(now_ms, limit, share, others, old_ms)``: of what ``Store.messages`` returns, the messages that
            this opening wrote, and those to the share whose writer is not among the others or which were sent before
            ``old_ms``. A message of an unknown writer, such as a transaction of the user, has no writer among the
            others.
        abandoned: ``(after_incarnation, limit, share, others)``: of what ``Store.claimed`` returns, the instances of
            the share with a claim whose owner is neither this opening nor one of the others.
    """

    lease_ms: int
    heartbeat: HeartbeatOperation
    members: MembersOperation
    due: DueInShareOperation
    messages: MessagesInShareOperation
    abandoned: AbandonedOperation
