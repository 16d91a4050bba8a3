"""All data in a memory store, with its smaller tables: messages, keys, journals, the log, and attributes.

Live messages are ordered by pair, dead letters separately. The log has its cursors.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import dropwhile, islice, takewhile
from typing import Literal, TypeAlias, assert_never

import attrs

from perdure.runtime.record import DEFAULT_SIZES
from perdure.stores.memory.instances import Instances, Ordered, is_asked_for
from perdure.stores.values import Cursor, FilledPage, LoggedEvent, Query, Retention, StoredHistory
from perdure.values.address import Address, Job
from perdure.values.attributes import FAILED, AttributeKeys, StoredAttribute
from perdure.values.event import Event
from perdure.values.instance import Instance
from perdure.values.limits import KeepHistory
from perdure.values.message import Consumed, DeadLettered, Kept, Message, MessageFate, Postponed, StoredMessage
from perdure.values.stream import StoredGroup, StreamGroup
from perdure.values.transition import JournalChange, NewKeys, Remembered

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


@attrs.define
class _Held:
    """One address's keys, numbered in the order of first use."""

    by_key: dict[str, Remembered] = attrs.Factory(dict[str, Remembered])
    ordinals: OrderedDict[str, int] = attrs.Factory(OrderedDict[str, int])  # ascending
    by_ordinal: dict[int, str] = attrs.Factory(dict[int, str])

    @property
    def newest(self) -> int:
        return next(reversed(self.ordinals.values()), 0)

    @property
    def number(self) -> int:
        """How many keys there are, or more if some in between were deleted."""
        return self.newest - next(iter(self.ordinals.values()), 1) + 1

    def add(self, remembered: Remembered) -> None:
        ordinal = self.ordinals.get(remembered.key)
        if ordinal is None:
            ordinal = self.newest + 1
            self.ordinals[remembered.key], self.by_ordinal[ordinal] = ordinal, remembered.key
        self.by_key[remembered.key] = remembered
        # By ordinal, not by the number of keys: retention deletes keys in between, and the other stores count ordinals.
        older = self.by_ordinal.get(ordinal - remembered.full_answers)
        if older is not None:
            self.by_key[older] = attrs.evolve(self.by_key[older], answer="")

    def remove(self, key: str) -> None:
        del self.by_key[key]
        del self.by_ordinal[self.ordinals.pop(key)]


class Keys:
    """Stored results, by address and key. They outlive the instance, until they expire."""

    __slots__ = ("_addresses", "_expiring")

    def __init__(self) -> None:
        self._addresses: dict[Address, _Held] = {}
        # Replaced entries stay in the heap: to remove one would search it. `_expire` skips them.
        self._expiring: list[tuple[int, Address, str]] = []  # a heap; replaced keys leave stale entries

    def remember(self, address: Address, remembered: Remembered) -> None:
        """Store a result, in place of an earlier one with the same key."""
        held = self._addresses.get(address)
        if held is None:
            held = self._addresses[address] = _Held()
        held.add(remembered)
        heapq.heappush(self._expiring, (remembered.expires_ms, address, remembered.key))

    def recall(self, address: Address, key: str, now_ms: int) -> tuple[Remembered | None, int]:
        """Return a key's result, and how many keys its address has."""
        held = self._addresses.get(address)
        if held is None:
            return None, 0
        remembered = held.by_key.get(key)
        # Expired keys may still be stored: retention deletes a limited number at a time.
        if remembered is not None and remembered.expires_ms <= now_ms:
            remembered = None
        return remembered, held.number

    def are_new(self, address: Address, new: NewKeys) -> bool:
        """Return whether all of these keys are unknown."""
        return all(self.recall(address, key, new.at_ms)[0] is None for key in new.keys)

    def prune(self, now_ms: int, limit: int) -> int:
        """Delete expired keys, oldest first, and return how many."""
        removed = 0
        while removed < limit and self._expiring and self._expiring[0][0] <= now_ms:
            removed += self._expire(*heapq.heappop(self._expiring))
        return removed

    def _expire(self, expires_ms: int, address: Address, key: str) -> int:
        held = self._addresses.get(address)
        current = None if held is None else held.by_key.get(key)
        # The key was stored again with a later expiry: this heap entry is an old one, and to delete the key would
        # repeat a turn.
        if held is None or current is None or current.expires_ms != expires_ms:
            return 0
        held.remove(key)
        if not held.by_key:
            del self._addresses[address]
        return 1


class Journals:
    """Journal rows by incarnation. A row's place is its index."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: dict[int, list[str]] = {}

    def change(self, incarnation: int, change: JournalChange) -> None:
        """Append rows, after deleting the earlier ones if they are cut, and replace those that are rewritten."""
        if change.earlier == "cut":
            self.delete(incarnation)
        for place, body in change.rewritten:
            self._rows[incarnation][place] = body
        if change.bodies:
            self._rows.setdefault(incarnation, []).extend(change.bodies)

    def read(self, incarnation: int, first: int, limit: int) -> tuple[str, ...]:
        """Return rows from a place on."""
        return tuple(self._rows.get(incarnation, ())[first : first + limit])

    def delete(self, incarnation: int) -> None:
        """Delete an incarnation's journal."""
        self._rows.pop(incarnation, None)


@attrs.define
class _KeptStream:
    groups: deque[tuple[StoredGroup, int]] = attrs.Factory(deque[tuple[StoredGroup, int]])  # each with its total
    last: int = -1
    total: int = 0


class Streams:
    """Groups of chunks by incarnation and stream."""

    __slots__ = ("_streams",)

    def __init__(self) -> None:
        self._streams: dict[int, dict[str, _KeptStream]] = {}

    def append(self, group: StreamGroup) -> int:
        """Append a group, delete the groups beyond the stream's bounds, and return the group's first offset."""
        stream = self._streams.setdefault(group.incarnation, {}).setdefault(group.stream, _KeptStream())
        first = stream.last + 1 + group.skipped
        stream.last, stream.total = first + group.count - 1, stream.total + group.size
        stream.groups.append((StoredGroup(first, stream.last, group.body), stream.total))
        # Both bounds by position: a group goes as soon as one of them no longer reaches into it.
        oldest, spent = stream.last - group.max_chunks, stream.total - group.max_bytes
        # The last group stays, even if it alone is larger than the bounds.
        while len(stream.groups) > 1 and (stream.groups[0][0].last <= oldest or stream.groups[0][1] <= spent):
            stream.groups.popleft()
        return first

    def read(self, incarnation: int, name: str, after: int, limit: int, max_bytes: int) -> tuple[StoredGroup, ...]:
        """Return groups after an offset."""
        stream = self._streams.get(incarnation, {}).get(name)
        if stream is None or stream.last <= after:
            return ()
        found = list(islice((each for each in stream.groups if each[0].last > after), limit))
        return tuple(group for group, total in found if total - found[0][1] <= max_bytes)

    def last(self, incarnation: int, name: str) -> int:
        """Return the newest offset, and -1 without one."""
        stream = self._streams.get(incarnation, {}).get(name)
        return -1 if stream is None else stream.last

    def delete(self, incarnation: int) -> None:
        """Delete an incarnation's streams."""
        self._streams.pop(incarnation, None)


class KeptEvents:
    """Events of jobs that keep them longer than the log, by sequence number, and for how long."""

    __slots__ = ("_bounds", "_events", "_of_job")

    def __init__(self) -> None:
        self._bounds: dict[Job, tuple[int, int]] = {}  # age and number
        self._events: dict[int, Event] = {}
        self._of_job: dict[Job, deque[int]] = {}  # ascending

    def declare(self, jobs: Mapping[Job, KeepHistory]) -> None:
        """Change the bounds of jobs."""
        self._bounds |= {job: (history.age_ms, history.events) for job, history in jobs.items()}

    def known(self) -> tuple[StoredHistory, ...]:
        """Return the bounds, with the number of events."""
        return tuple(
            StoredHistory(*job, *bounds, len(self._of_job.get(job, ()))) for job, bounds in sorted(self._bounds.items())
        )

    def event(self, sequence: int) -> Event | None:
        """Return an event. None if it is not kept here."""
        return self._events.get(sequence)

    def take(self, sequence: int, event: Event, now_ms: int) -> bool:
        """Keep an event that leaves the log, if its job's history says so."""
        kind, name, _ = event.address.split(":", 2)
        bounds = self._bounds.get((kind, name))
        if bounds is None or event.at_ms < now_ms - bounds[0]:
            return False
        self._events[sequence] = event
        self._of_job.setdefault((kind, name), deque()).append(sequence)
        return True

    def prune(self, now_ms: int, limit: int) -> tuple[tuple[int, Event], ...]:
        """Delete events beyond their jobs' bounds, up to the limit, and return them."""
        gone: list[tuple[int, Event]] = []
        for job, (age_ms, most) in sorted(self._bounds.items()):
            kept = self._of_job.get(job, deque())
            while len(gone) < limit and kept and (len(kept) > most or self._events[kept[0]].at_ms < now_ms - age_ms):
                sequence = kept.popleft()
                gone.append((sequence, self._events.pop(sequence)))
        return tuple(gone)


class EventLog:
    """Events by sequence number. Retention deletes only from the log's beginning, so the numbers have no gaps."""

    __slots__ = ("_cursors", "_events", "_first", "_history", "_last", "kept")

    def __init__(self) -> None:
        self.kept = KeptEvents()
        self._events: dict[int, Event] = {}
        self._history: dict[str, deque[int]] = {}  # sequence numbers by printed address
        self._first = 1
        self._last = 0
        self._cursors: dict[str, int] = {}

    def append(self, event: Event) -> None:
        """Add an event at the end."""
        self._last = sequence = self._last + 1
        self._events[sequence] = event
        self._history.setdefault(event.address, deque()).append(sequence)

    def after(self, sequence: int, limit: int) -> tuple[LoggedEvent, ...]:
        """Return the events after a sequence number, in order."""
        begin = max(sequence + 1, self._first)
        return tuple(self._logged(number) for number in range(begin, min(begin + limit, self._last + 1)))

    def history(self, address: Address, before: int | None, limit: int) -> tuple[LoggedEvent, ...]:
        """Return an address's newest events, newest first."""
        newest_first = reversed(self._history.get(str(address), ()))
        older = newest_first if before is None else dropwhile(lambda sequence: sequence >= before, newest_first)
        return tuple(self._logged(sequence) for sequence in islice(older, limit))

    def prune(self, retention: Retention, limit: int) -> int:
        """Move or delete old events from the beginning, up to the first that stays, and return how many."""
        removed = 0
        # Stops at the first event that stays: a hole in the log would look like a loss to sinks.
        while removed < limit and self._events and self._is_let_go(retention.events_since_ms, retention.max_events):
            event = self._events.pop(self._first)
            if not self.kept.take(self._first, event, retention.now_ms):
                self._forget(self._first, event)
            self._first += 1
            removed += 1
        gone = self.kept.prune(retention.now_ms, limit - removed)
        for sequence, event in gone:
            self._forget(sequence, event)
        return removed + len(gone)

    def cursor(self, name: str) -> Cursor:
        """Return a sink's position."""
        sequence = self._cursors.get(name)
        deleted = 0 if sequence is None else max(0, self._first - 1 - sequence)
        return Cursor(sequence=sequence, last=self._last, deleted=deleted)

    def move_cursor(self, name: str, sequence: int, events: Sequence[Event]) -> None:
        """Move a sink forward and log events. Do nothing if it is there already."""
        # Only forward: a move that is repeated must not log its events twice.
        if sequence > self._cursors.get(name, -1):
            self._cursors[name] = sequence
            for event in events:
                self.append(event)

    def _is_let_go(self, since_ms: int, max_events: int) -> bool:
        return len(self._events) > max_events or self._events[self._first].at_ms < since_ms

    def _forget(self, sequence: int, event: Event) -> None:
        history = self._history[event.address]
        history.remove(sequence)  # nearly always the first one
        if not history:
            del self._history[event.address]

    def _logged(self, sequence: int) -> LoggedEvent:
        event = self._events.get(sequence) or self.kept.event(sequence)
        assert event is not None  # noqa: S101 - the history has no other numbers
        return LoggedEvent(sequence=sequence, event=event)


Place: TypeAlias = tuple[str, str, str]
"""Kind, job and attribute."""

Declared: TypeAlias = Mapping[Job, Mapping[str, str]]


@attrs.define
class Opening:
    """One opening of a shared store, as far as it is known.

    Attributes:
        is_open: whether it may still write.
        serves: the jobs that it has said to serve.
        declared: the attributes that it computes. None: it has not said.
    """

    is_open: bool = True
    serves: frozenset[Job] = frozenset()
    declared: Declared | None = None

    @property
    def is_beginning(self) -> bool:
        """Whether it may still declare its attributes: it has said nothing, and has served nothing."""
        return self.is_open and self.declared is None and not self.serves

    def may_spoil(self, place: Place, fingerprint: str) -> bool:
        """Return whether its commits may leave other keys of an attribute."""
        job = place[:2]
        if self.declared is None:
            return not self.serves or job in self.serves
        return job in self.declared and self.declared[job].get(place[2]) != fingerprint


@attrs.define
class _KnownAttribute:
    stored: StoredAttribute
    keys: dict[int, tuple[str, str]] = attrs.Factory(dict[int, tuple[str, str]])  # id and key, by incarnation
    since: int = 0  # the openings up to this one that have ended have spoiled nothing that is not filled again


@attrs.define
class AttributeTable:
    """The attributes that a memory store knows.

    Attributes:
        openings: the openings by epoch; of an owned store, only the present one.
    """

    openings: dict[int, Opening] = attrs.Factory(dict[int, Opening])
    _known: dict[Place, _KnownAttribute] = attrs.Factory(dict[Place, _KnownAttribute])

    # ------------------------------------------------------------ commits
    def write(self, address: Address, incarnation: int, keys: AttributeKeys) -> None:
        """Write changed keys of an instance."""
        for name, key in keys:
            known = self._known.get((address.kind, address.name, name))
            if known is None:
                continue
            if key is None:
                known.keys.pop(incarnation, None)
            else:
                known.keys[incarnation] = address.id, key

    def delete(self, address: Address, incarnation: int) -> None:
        """Delete all keys of an instance."""
        for place, known in self._known.items():
            if place[:2] == (address.kind, address.name):
                known.keys.pop(incarnation, None)

    # ------------------------------------------------------------ reading
    def known(self) -> tuple[StoredAttribute, ...]:
        """Return the known attributes."""
        return tuple(
            attrs.evolve(
                known.stored,
                failures=any(key.startswith(FAILED) for _, key in known.keys.values()),
                doubt="some" if self._is_doubtful(place, known) else "none",
            )
            for place, known in sorted(self._known.items())
        )

    def matches(self, instance: Instance, query: Query) -> bool:
        """Return whether an instance has keys in the ranges of a query."""
        address = instance.address
        for wanted in query.where:
            known = self._known.get((address.kind, address.name, wanted.attribute))
            held = None if known is None else known.keys.get(instance.incarnation)
            if held is None or held[1] not in wanted:
                return False
        return True

    # ------------------------------------------------------------ the life of an attribute
    def declare(self, epoch: int, jobs: Declared) -> None:
        """Note the attributes that an opening computes, and begin those that are new, changed or spoiled."""
        self.openings.setdefault(epoch, Opening()).declared = jobs
        others = [each for other, each in self.openings.items() if other != epoch and each.is_open]
        # The present code decides unless other code is open, too: two would begin it again in turns for ever.
        for job, declared in jobs.items():
            for name, fingerprint in declared.items():
                place = (*job, name)
                known = self._known.get(place)
                if known is None:
                    self._begin(place, fingerprint)
                elif known.stored.fingerprint != fingerprint:
                    if not any(each.declared is not None and each.may_spoil(place, fingerprint) for each in others):
                        self._begin(place, fingerprint)
                elif self._is_spoiled(place, known):
                    self._begin(place, fingerprint)
                elif not self._is_doubtful(place, known):
                    known.since = max(known.since, self._settled())
            for place, known in self._known.items():
                is_over = place[:2] == job and place[2] not in declared and known.stored.state != "clearing"
                if is_over and not any(place[2] in (each.declared or {}).get(job, {}) for each in others):
                    self._begin(place, known.stored.fingerprint)

    def clear(self, epoch: int, place: Place, limit: int) -> int:
        """Delete some keys of an attribute that is being cleared."""
        known = self._known.get(place)
        if known is None or known.stored.state != "clearing":
            return 0
        declares = self._declares(epoch, place) == known.stored.fingerprint
        others = (other for other, each in self.openings.items() if each.is_open and self._declares(other, place))
        # Keys that another opening still writes would appear behind the clearing.
        if self._is_doubtful(place, known) if declares else any(others):
            return 0
        gone = list(known.keys)[:limit]
        for incarnation in gone:
            del known.keys[incarnation]
        if len(gone) < limit and declares:
            known.stored = attrs.evolve(known.stored, state="filling", position="")
        elif len(gone) < limit:
            del self._known[place]
        return len(gone)

    def _declares(self, epoch: int, place: Place) -> str | None:
        opening = self.openings.get(epoch)
        declared = None if opening is None else opening.declared
        return None if declared is None else declared.get(place[:2], {}).get(place[2])

    def fill(self, instances: Instances, job: Job, page: FilledPage) -> tuple[str, ...]:
        """Write the attributes of a page. Return the ids that were not written."""
        filled = {
            name: known
            for name, generation in page.generations
            if (known := self._known.get((*job, name))) is not None
            and known.stored.generation == generation
            and known.stored.state == "filling"
            and not self._is_doubtful((*job, name), known)
        }
        if len(filled) < len(page.generations):
            return ()
        refused: list[str] = []
        for row in page.rows:
            stored = instances.get(Address(*job, row.id))
            if stored is None or (stored.incarnation, stored.version) != (row.incarnation, row.version):
                refused.append(row.id)
                continue
            self.write(stored.address, row.incarnation, tuple(pair for pair in row.keys if pair[0] in filled))
        if not refused:
            for known in filled.values():
                position = page.rows[-1].id if page.rows else known.stored.position
                known.stored = attrs.evolve(known.stored, position=position)
                if page.rest == "none":
                    known.stored = attrs.evolve(known.stored, state="whole")
        return tuple(refused)

    def count(self, instances: Instances, query: Query) -> int:
        """Count the instances that match a query."""
        return sum(is_asked_for(row, query) and self.matches(row, query) for row in instances.all())

    # ------------------------------------------------------------ doubts
    def _begin(self, place: Place, fingerprint: str) -> None:
        known = self._known.get(place)
        generation = 1 if known is None else known.stored.generation + 1
        kind, name, attribute = place
        stored = StoredAttribute(
            kind=kind, name=name, attribute=attribute, fingerprint=fingerprint, generation=generation
        )
        self._known[place] = _KnownAttribute(stored, {} if known is None else known.keys, max(self.openings, default=0))

    def _settled(self) -> int:
        return min((epoch for epoch, each in self.openings.items() if each.is_open), default=1) - 1

    def _suspects(self, place: Place, known: _KnownAttribute) -> list[Opening]:
        return [
            each
            for epoch, each in self.openings.items()
            if (each.is_open or epoch > known.since) and each.may_spoil(place, known.stored.fingerprint)
        ]

    def _is_doubtful(self, place: Place, known: _KnownAttribute) -> bool:
        return bool(self._suspects(place, known))

    def _is_spoiled(self, place: Place, known: _KnownAttribute) -> bool:
        """Return whether other keys may have been written: an opening that is just beginning has written none."""
        if all(each.is_beginning for each in self._suspects(place, known)):
            return False
        # While they are open, only an attribute that was filled has to be begun again, and once.
        return known.stored.state != "clearing" or any(
            not each.is_open
            for epoch, each in self.openings.items()
            if epoch > known.since and each.may_spoil(place, known.stored.fingerprint)
        )


@attrs.define
class Tables:
    """All data in a memory store. It outlives the openings."""

    block: int = DEFAULT_SIZES.memory_block
    instances: Instances = attrs.Factory(lambda self: Instances(self.block), takes_self=True)
    mail: MessageTable = attrs.Factory(lambda self: MessageTable(self.block), takes_self=True)
    keys: Keys = attrs.Factory(Keys)
    log: EventLog = attrs.Factory(EventLog)
    holds: set[Job] = attrs.Factory(set[Job])
    journals: Journals = attrs.Factory(Journals)
    streams: Streams = attrs.Factory(Streams)
    attributes: AttributeTable = attrs.Factory(AttributeTable)
