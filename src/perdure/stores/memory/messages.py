"""The memory store's messages: live ones ordered by pair, dead letters separately."""

from __future__ import annotations

import heapq
from bisect import insort
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, takewhile
from typing import Literal, TypeAlias, assert_never

import attrs

from perdure.runtime.record import DEFAULT_SIZES
from perdure.stores.memory.instances import Ordered
from perdure.values.address import Address, Job
from perdure.values.message import Consumed, DeadLettered, Kept, Message, MessageFate, Postponed, StoredMessage

_Pair: TypeAlias = tuple[Address, Address]


class MessageTable:
    """Messages that were sent and not consumed.

    A (sender, target) pair's head is its oldest live message, the only one that may be delivered. Heads are
    ``ripe`` when they may be delivered immediately, otherwise ``waiting`` for their instant.
    """

    __slots__ = ("_dead", "_dead_own", "_last_id", "_left", "_living", "_pairs", "_postponed", "_ripe", "_waiting")

    def __init__(self, block: int = DEFAULT_SIZES.memory_block) -> None:
        self._living: dict[int, StoredMessage] = {}
        self._dead: dict[int, StoredMessage] = {}
        self._dead_own: dict[Address, set[int]] = {}  # dead letters of instances to themselves
        self._pairs: dict[_Pair, deque[int]] = {}  # ids of live messages, oldest first; no empty queues
        self._ripe = Ordered(block)  # (id)
        self._waiting = Ordered(block)  # (not_before_ms, id)
        self._postponed = Ordered(block)  # (not_before_ms, id), heads or not
        self._left: set[int] = set()
        self._last_id = 0

    def send(self, message: Message) -> None:
        """Store a message under the next id."""
        self._last_id = message_id = self._last_id + 1
        self._revive(StoredMessage(message_id=message_id, message=message))

    def restore(self, stored: StoredMessage) -> None:
        """Add a message of another store, with its id."""
        self._last_id = max(self._last_id, stored.message_id)
        self._revive(stored)

    @property
    def living(self) -> int:
        """How many messages are live."""
        return len(self._living)

    @property
    def last_id(self) -> int:
        """The newest message's id."""
        return self._last_id

    @property
    def dead(self) -> int:
        """How many dead letters there are."""
        return len(self._dead)

    def is_living(self, message_id: int) -> bool:
        """Return whether a message exists and is not a dead letter."""
        return message_id in self._living

    def get(self, message_id: int) -> StoredMessage | None:
        """Return a live message. None if there is no such message."""
        return self._living.get(message_id)

    def settle(self, fate: MessageFate) -> None:
        """Apply the fate that a turn decided for a live message."""
        if isinstance(fate, Kept):
            return
        stored = self._remove(fate.message_id)
        match fate:
            case Consumed():
                pass
            case Postponed(deliveries=deliveries, not_before_ms=not_before_ms, error=error, codes=codes):
                later = attrs.evolve(stored, deliveries=deliveries, not_before_ms=not_before_ms)
                self._revive(attrs.evolve(later, error=error, codes=codes))
            case DeadLettered(deliveries=deliveries, error=error):
                self._bury(attrs.evolve(stored, deliveries=deliveries, not_before_ms=0, error=error, codes=()))
            case _:
                assert_never(fate)

    def redrive(self, message_id: int) -> Literal["redriven", "not_found"]:
        """Make a dead letter a live message again."""
        if message_id not in self._dead:
            return "not_found"
        stored = self._exhume(message_id)
        self._revive(attrs.evolve(stored, not_before_ms=0))
        return "redriven"

    def forget_own(self, address: Address) -> None:
        """Delete an instance's messages to itself, dead letters too."""
        pair = (address, address)
        for message_id in tuple(self._pairs.get(pair, ())):
            self._remove(message_id)
        # Dead letters too: one that is redriven later would start the next instance of the address.
        for message_id in self._dead_own.pop(address, ()):
            del self._dead[message_id]

    def targets(self) -> Iterator[Address]:
        """Yield the target of each living message."""
        return (stored.message.target for stored in self._living.values())

    def deliverable(
        self, now_ms: int, limit: int, except_jobs: frozenset[Job] = frozenset()
    ) -> tuple[StoredMessage, ...]:
        """Return the heads that may be delivered, oldest first."""
        self._ripen(now_ms)
        heads = (self._living[message_id] for (message_id,) in self._ripe)
        # Checked again: a head became ripe for a later `now_ms` if the clock has gone back since.
        ripe = (head for head in heads if head.not_before_ms <= now_ms)
        wanted = (head for head in ripe if _target_job(head) not in except_jobs)
        return tuple(islice(wanted if except_jobs else ripe, limit))

    def left_to(self, codes: Mapping[Job, str], limit: int) -> tuple[StoredMessage, ...]:
        """Return the heads that other code left, the oldest first."""
        rows = (self._living[message_id] for message_id in sorted(self._left))
        return tuple(islice((row for row in rows if self._is_head(row) and _is_left_to(row, codes)), limit))

    def _is_head(self, stored: StoredMessage) -> bool:
        return self._pairs[_pair(stored)][0] == stored.message_id

    def count(self, pairs: Sequence[_Pair], limit: int) -> tuple[int, ...]:
        """Count the pairs' live messages, up to a total."""
        counts: list[int] = []
        for pair in pairs:
            counts.append(min(len(self._pairs.get(pair, ())), limit))
            limit -= counts[-1]
        return tuple(counts)

    def next_message(self, after_ms: int) -> int | None:
        """Return the earliest instant, after this one, that a live message waits for."""
        return next((not_before_ms for not_before_ms, _ in self._postponed.from_((after_ms + 1,))), None)

    def dead_letters(self, after_id: int, limit: int) -> tuple[StoredMessage, ...]:
        """Return dead letters, oldest first."""
        later = (message_id for message_id in self._dead if message_id > after_id)
        return tuple(self._dead[message_id] for message_id in heapq.nsmallest(limit, later))

    def prune_dead_letters(self, since_ms: int, limit: int) -> int:
        """Delete dead letters that were sent before an instant, and return how many."""
        old = (message_id for message_id, stored in self._dead.items() if stored.message.sent_ms < since_ms)
        going = tuple(islice(old, limit))
        for message_id in going:
            self._exhume(message_id)
        return len(going)

    def _bury(self, stored: StoredMessage) -> None:
        self._dead[stored.message_id] = stored
        if _is_own(stored):
            self._dead_own.setdefault(stored.message.sender, set()).add(stored.message_id)

    def _exhume(self, message_id: int) -> StoredMessage:
        stored = self._dead.pop(message_id)
        if _is_own(stored):
            self._dead_own[stored.message.sender].discard(message_id)
        return stored

    def _revive(self, stored: StoredMessage) -> None:
        self._living[stored.message_id] = stored
        if stored.codes:
            self._left.add(stored.message_id)
        if stored.not_before_ms > 0:
            self._postponed.add((stored.not_before_ms, stored.message_id))
        pair = _pair(stored)
        queue = self._pairs.get(pair)
        if queue is None:
            self._pairs[pair] = deque((stored.message_id,))
            self._add_head(stored)
        # The usual case: ids grow, so a new message is the newest of its pair.
        elif queue[-1] < stored.message_id:
            queue.append(stored.message_id)
        else:
            self._insert(queue, stored)

    def _insert(self, queue: deque[int], stored: StoredMessage) -> None:
        head = queue[0]
        # A redriven message is older than those behind it: at the end it would break the order of its sender.
        insort(queue, stored.message_id)
        # An older head: the message that was the head may not be delivered before it.
        if queue[0] != head:
            self._remove_head(self._living[head])
            self._add_head(stored)

    def _remove(self, message_id: int) -> StoredMessage:
        stored = self._living.pop(message_id)
        self._left.discard(message_id)
        if stored.not_before_ms > 0:
            self._postponed.remove((stored.not_before_ms, message_id))
        pair = _pair(stored)
        queue = self._pairs[pair]
        # Not the head: nothing about the delivery of the pair changes.
        if queue[0] != message_id:
            queue.remove(message_id)
            return stored
        queue.popleft()
        self._remove_head(stored)
        if queue:
            self._add_head(self._living[queue[0]])
        else:
            del self._pairs[pair]
        return stored

    def _add_head(self, stored: StoredMessage) -> None:
        if stored.not_before_ms > 0:
            self._waiting.add((stored.not_before_ms, stored.message_id))
        else:
            self._ripe.add((stored.message_id,))

    def _remove_head(self, stored: StoredMessage) -> None:
        waiting = (stored.not_before_ms, stored.message_id)
        # A head is in one of the two sets: which one depends on whether `deliverable` has been called since.
        if waiting in self._waiting:
            self._waiting.remove(waiting)
        else:
            self._ripe.remove((stored.message_id,))

    def _ripen(self, now_ms: int) -> None:
        # A copy: the loop changes the set that it reads.
        for entry in tuple(self._due(now_ms)):
            self._waiting.remove(entry)
            self._ripe.add((entry[1],))

    def _due(self, now_ms: int) -> Iterator[tuple[int, ...]]:
        return takewhile(lambda entry: entry[0] <= now_ms, self._waiting)


def _pair(stored: StoredMessage) -> _Pair:
    return stored.message.sender, stored.message.target


def _target_job(stored: StoredMessage) -> Job:
    return stored.message.target.kind, stored.message.target.name


def _is_left_to(stored: StoredMessage, codes: Mapping[Job, str]) -> bool:
    target = stored.message.target
    code = codes.get((target.kind, target.name))
    return code is not None and code not in stored.codes


def _is_own(stored: StoredMessage) -> bool:
    return stored.message.sender == stored.message.target
