"""The memory store, owned by one engine or shared by several.

It is the reference for every other store, and the store for tests and simulations. A backend holds the data, which
outlives the openings.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, Final, Never, TypeVar

import attrs
from returns.future import FutureResult
from returns.result import Failure, Result

from perdure.programs.future import converted, settled
from perdure.stores.contract import Store
from perdure.stores.memory.opening import Committed, OpenMemoryStore
from perdure.stores.memory.tables import Opening, Tables
from perdure.stores.shares import Members, Served, Share, StoreMember
from perdure.stores.values import Capabilities, DuePosition, LoadRequest, PreviousExit
from perdure.values.errors import OwnershipLost, StoreError
from perdure.values.instance import Instance
from perdure.values.message import StoredMessage
from perdure.values.transition import Loaded, Transition
from perdure.values.turn_inputs import OtherEngines


class MemoryBackend:
    """A memory store's data, separate from the stores that are opened over it.

    It represents the disk: to simulate an engine that dies and starts again, open it again. The stores from earlier
    openings then return ``StoreUnavailable``, so that a dead engine's remaining tasks cannot write.

    Args:
        name: the store's name in messages.
    """

    __slots__ = ("_epoch", "_name", "_opening", "_tables")

    def __init__(self, *, name: str = "memory://") -> None:
        self._name = name
        self._tables = Tables()
        self._opening = OpenMemoryStore(self._tables)
        self._epoch = 0

    def open(self) -> Store:
        """Open the store over the existing data, and fence every earlier opening.

        Returns:
            A store whose epoch is one more than the previous opening's.
        """
        previous_exit: PreviousExit = "died" if self._epoch and self._opening.is_open else "closed"
        self._epoch += 1
        # Before the new opening answers: otherwise the remaining tasks of a dead engine could still write.
        self._opening.end(f"it was opened again: epoch {self._epoch} has replaced this one")
        self._tables.attributes.openings.clear()  # all have ended, and nobody writes beside this one
        self._opening = OpenMemoryStore(self._tables, name=self._name, epoch=self._epoch, previous_exit=previous_exit)
        return self._opening


def backend_of_blocks(block: int) -> MemoryBackend:
    """Return an empty memory store's data, with sorted indexes in parts that have this many entries."""
    backend = MemoryBackend()
    backend._tables = Tables(block)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - no public parameter
    return backend


def memory_store(*, name: str = "memory://") -> Store:
    """Return an empty memory store, whose operations never wait.

    Args:
        name: the store's name in messages.

    Returns:
        A store that passes the conformance suite. Its data is lost once it is dropped.
    """
    return MemoryBackend(name=name).open()


A = TypeVar("A")

LEASE_MS: Final = 4_000
"""How long a lease lasts by default."""

_ALL: Final = 1 << 62


class SharedMemoryBackend:
    """A shared memory store's data, and its members.

    Args:
        clock_ms: the store's own wall clock, in milliseconds since 1970 UTC, which no engine's clock affects.
        lease_ms: how long a lease lasts, in milliseconds.
        name: the store's name in messages.
    """

    __slots__ = ("_clock_ms", "_epoch", "_lease_ms", "_members", "_name", "_openings", "_origins", "_tables")

    def __init__(
        self, clock_ms: Callable[[], float], *, lease_ms: int = LEASE_MS, name: str = "memory+shared://"
    ) -> None:
        self._clock_ms = clock_ms
        self._lease_ms = lease_ms
        self._name = name
        self._tables = Tables()
        self._epoch = 0
        self._members: dict[int, _Joined] = {}
        self._openings: dict[int, _SharedOpening] = {}
        self._origins: dict[int, int] = {}  # the epochs that sent living messages, by message id

    def open(self, *, label: str = "") -> Store:
        """Open the store beside its other openings.

        Args:
            label: names the process in `StoreMember.label`.
        """
        self._epoch = epoch = self._epoch + 1
        now_ms = self._clock_ms()
        self._members[epoch] = _Joined({}, now_ms, now_ms + self._lease_ms, label)
        self._openings[epoch] = opening = self._opening(epoch)
        self._tables.attributes.openings[epoch] = Opening()
        return opening

    def reader(self) -> Store:
        """Return a store for inspection, which is not a member. Its epoch is 0."""
        return self._opening(0)

    def _opening(self, epoch: int) -> _SharedOpening:
        return _SharedOpening(self, self._tables, name=self._name, epoch=epoch, lease_ms=self._lease_ms)

    # ------------------------------------------------------------ membership
    def beat(self, epoch: int, served: Served) -> Members:
        """Renew this member's lease, declare dead all others whose lease has ended, and return the living members."""
        now_ms = self._clock_ms()
        # By the store's clock alone: an engine whose own clock is ahead would declare living members dead.
        for other in [other for other, member in self._members.items() if other != epoch and member.until_ms < now_ms]:
            del self._members[other]
            self._tables.attributes.openings[other].is_open = False
            # In the same step as the deletion: a member that is not listed any more and still writes would run beside
            # its successor.
            self._openings.pop(other).declare_dead()
        self._members[epoch] = attrs.evolve(self._members[epoch], served=dict(served), until_ms=now_ms + self._lease_ms)
        self._tables.attributes.openings[epoch].serves |= frozenset(served)
        return self.members()

    def leave(self, epoch: int) -> None:
        """End a membership."""
        self._members.pop(epoch, None)
        self._openings.pop(epoch, None)
        if epoch in self._tables.attributes.openings:
            self._tables.attributes.openings[epoch].is_open = False

    def members(self) -> Members:
        """Return the members."""
        now_ms = self._clock_ms()
        found = (
            StoreMember(
                epoch=epoch,
                served=member.served,
                joined_ms=int(member.joined_ms),
                lease_left_ms=int(member.until_ms - now_ms),
                label=member.label,
            )
            for epoch, member in self._members.items()
        )
        return Members(members=tuple(found), last_epoch=self._epoch, now_ms=int(now_ms))

    # ------------------------------------------------------------ messages
    def origin(self, message_id: int) -> int:
        """Return the epoch that sent a message. 0 if it is not known."""
        return self._origins.get(message_id, 0)

    def sent(self, epoch: int, after_id: int, transition: Transition) -> None:
        """Record that an opening sent the messages after an id, and forget a settled one."""
        for message_id in range(after_id + 1, self._tables.mail.last_id + 1):
            self._origins[message_id] = epoch
        for message_id in transition.message_ids:
            if not self._tables.mail.is_living(message_id):
                self._origins.pop(message_id, None)


@attrs.frozen
class _Joined:
    served: Served
    joined_ms: float
    until_ms: float
    label: str


class _SharedOpening(OpenMemoryStore):
    """One opening, until it is closed or declared dead."""

    capabilities = Capabilities(ownership="shared", durability="none")
    synchronous = False

    def __init__(self, backend: SharedMemoryBackend, tables: Tables, *, name: str, epoch: int, lease_ms: int) -> None:
        super().__init__(tables, name=name, epoch=epoch)
        self.sharing = _MemorySharing(self, backend, lease_ms)
        self._backend = backend
        self._dead = False

    def declare_dead(self) -> None:
        """Refuse all later operations: another engine may have taken over this engine's work."""
        self._dead = True
        self.end("another engine declared this one dead, because its lease had ended")

    def _load(self, request: LoadRequest) -> Result[Loaded, StoreError]:
        return Failure(self._lost) if self._dead else super()._load(request)

    def _commit(self, transition: Transition) -> Committed:
        if self._dead:
            return Failure(self._lost)
        before = self._tables.mail.last_id
        answer = super()._commit(transition)
        if transition.messages or transition.inbound is not None:
            self._backend.sent(self.epoch, before, transition)
        return answer

    def close(self) -> FutureResult[None, StoreError]:
        """End this opening and its membership."""
        self._backend.leave(self.epoch)
        return super().close()

    def _refuse(self, operation: str) -> FutureResult[Never, Any]:
        return settled(Failure(self._lost)) if self._dead else super()._refuse(operation)

    @property
    def _lost(self) -> OwnershipLost:
        return OwnershipLost(f"epoch {self.epoch} of a shared memory store", self._ended)


@attrs.frozen
class _MemorySharing:
    opening: _SharedOpening
    backend: SharedMemoryBackend
    lease_ms: int

    def heartbeat(self, served: Served, /) -> FutureResult[Members, StoreError]:
        """Renew the lease, and return the members."""
        return self.opening.answer("renew the lease", lambda _: self.backend.beat(self.opening.epoch, served))

    def members(self) -> FutureResult[Members, StoreError]:
        """Return the members."""
        return self.opening.answer("read members", lambda _: self.backend.members())

    def due(
        self, now_ms: int, limit: int, share: Share, after: DuePosition | None = None, /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return a share's due instances."""
        return _those(self.opening.due(now_ms, _ALL, after), lambda row: row.address in share, limit)

    def messages(
        self, now_ms: int, limit: int, share: Share, others: OtherEngines, old_ms: int, /
    ) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        """Return the messages that this opening sent, and a share's messages that their writer does not deliver."""

        def may_deliver(one: StoredMessage) -> bool:
            origin = self.backend.origin(one.message_id)
            if origin == self.opening.epoch:
                return True
            return (origin not in others or one.message.sent_ms < old_ms) and one.message.target in share

        return _those(self.opening.messages(now_ms, _ALL), may_deliver, limit)

    def abandoned(
        self, after_incarnation: int, limit: int, share: Share, others: OtherEngines, /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return a share's instances that a dead engine has claimed."""

        def is_abandoned(row: Instance) -> bool:
            owners = {claim.owner for claim in (row.claim, row.event_claim) if claim is not None}
            return any(owner != self.opening.epoch and owner not in others for owner in owners) and row.address in share

        return _those(self.opening.claimed(after_incarnation, _ALL), is_abandoned, limit)


def _those(
    operation: FutureResult[tuple[A, ...], StoreError], is_wanted: Callable[[A], bool], limit: int
) -> FutureResult[tuple[A, ...], StoreError]:
    return converted(operation, lambda rows: tuple(islice(filter(is_wanted, rows), limit)))
