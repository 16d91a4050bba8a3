"""The values that a store's functions take and return: queries, pages, logged events, health, backups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

import attrs

from perdure.values.address import Address, Job
from perdure.values.attributes import AttributeKeys, KeyRange
from perdure.values.event import Event
from perdure.values.excerpt import fields_in_line
from perdure.values.frozen import turn_value
from perdure.values.instance import Instance
from perdure.values.status import Status
from perdure.values.times import from_ms

if TYPE_CHECKING:
    from returns.future import FutureResult

    from perdure.values.errors import OutcomeUnknown, StoreError
    from perdure.values.limits import KeepHistory
    from perdure.values.stream import StoredGroup, StreamGroup

Durability: TypeAlias = Literal["none", "relaxed", "full"]
"""The failures that a committed transition survives: none, a process crash, or also a power loss."""

OnLocked: TypeAlias = Literal["raise", "wait"]
"""The action when another engine owns the store: raise ``StoreLocked``, or wait until that engine ends."""

IfMissing: TypeAlias = Literal["create", "refuse"]
"""When a store's file is missing or empty: create an empty store, or raise ``StoreMissing``."""

DEFAULT_CACHE_BYTES: Final = 64 * 1024 * 1024
"""The default bound for the instances in memory."""

DuePosition: TypeAlias = tuple[int, int]
"""A position in the order of ``due``: an instance's ``due_ms`` and incarnation."""

PreviousExit: TypeAlias = Literal["closed", "died"]
"""How the previous engine left the store: it closed the store, or its process ended without closing it.

After ``died`` the engine claims all job code before it runs, for a minute, and so counts how often it kills the
process.
"""


@attrs.frozen(kw_only=True)
class Capabilities:
    """What a store offers.

    Attributes:
        ownership: ``owned`` by one engine at a time, or ``shared`` by many (claims then carry leases).
        durability: the failures that a committed transition survives.
    """

    ownership: Literal["owned", "shared"]
    durability: Durability


@turn_value
class LoadRequest:
    """The arguments of ``load``."""

    address: Address
    idempotency_key: str | None = None
    now_ms: int = 0


@attrs.frozen(kw_only=True)
class Query:
    """The conditions for ``find``, which must all hold. Results are ordered by address.

    Attributes:
        kind: only instances of this kind.
        name: only this job's instances.
        jobs: only these jobs, each a kind and a name. None: any job.
        except_jobs: any job but these.
        id_prefix: only ids that begin with this text.
        status: only instances with this status.
        due_before_ms: only alarms due before this instant.
        where: only instances whose attributes have keys in these ranges, one for each attribute. It needs kind and
            name.
        after: only addresses after this one, the last address on the previous page.
        limit: the maximum number of results, 1 to 1,000.
    """

    __repr__ = fields_in_line

    kind: str | None = None
    name: str | None = None
    jobs: tuple[tuple[str, str], ...] | None = None
    except_jobs: tuple[tuple[str, str], ...] = ()
    id_prefix: str = ""
    status: Status | None = None
    due_before_ms: int | None = None
    where: tuple[KeyRange, ...] = ()
    after: Address | None = None
    limit: int = 100


@attrs.frozen(kw_only=True)
class FilledRow:
    """One instance whose attributes were computed.

    Attributes:
        id: its id.
        incarnation: its incarnation.
        version: the version of the row that they were computed from.
        keys: the attributes with their keys.
    """

    __repr__ = fields_in_line

    id: str
    incarnation: int
    version: int
    keys: AttributeKeys


@attrs.frozen(kw_only=True)
class FilledPage:
    """The attributes of the next instances of a job, by id, which the store did not have.

    Attributes:
        generations: the attributes with the generations that they were computed for.
        rows: the instances, in the order of their ids.
        rest: whether there may be further ones.
    """

    __repr__ = fields_in_line

    generations: tuple[tuple[str, int], ...]
    rows: tuple[FilledRow, ...]
    rest: Literal["none", "some"]


@attrs.frozen(kw_only=True)
class Found:
    """A search result.

    Attributes:
        instances: the instances that meet the conditions, ordered by address.
        after: where the search stopped. None if no more instances meet the conditions.
    """

    __repr__ = fields_in_line

    instances: tuple[Instance, ...]
    after: Address | None


@attrs.frozen(kw_only=True)
class JobWork:
    """The work of one job in a store: what waits for an engine, and what engines do.

    Attributes:
        queued: queued instances.
        due: instances whose alarm, timer or retry is due.
        messages: messages that may be delivered, at most one of each sender for an instance.
        running: instances with a claim.
        next_alarm_ms: the earliest alarm, timer or retry, due or not. None if it is not among those that were read.
    """

    __repr__ = fields_in_line

    kind: str
    name: str
    queued: int = 0
    due: int = 0
    messages: int = 0
    running: int = 0
    next_alarm_ms: int | None = None


# A status that this list lacks counts as work: better a worker that finds nothing than work that none runs.
WITHOUT_WORK: Final = ("done", "parked", "paused")
"""The statuses of instances that no worker will run by itself."""


@attrs.frozen(kw_only=True)
class StoredWork:
    """The work of some jobs in a store.

    Attributes:
        jobs: the jobs, in the caller's order.
        alarms_to_ms: the last alarm that was read. Later ones may exist. None if all were read.
    """

    __repr__ = fields_in_line

    jobs: tuple[JobWork, ...] = ()
    alarms_to_ms: int | None = None

    @classmethod
    def of(
        cls,
        jobs: Sequence[Job],
        until_ms: int,
        limit: int,
        *,
        alarms: Iterable[tuple[Job, int]],
        queued: Mapping[Job, int],
        messages: Mapping[Job, int],
        running: Mapping[Job, int],
    ) -> StoredWork:
        """Put the rows that a store read together.

        Args:
            jobs: the jobs.
            until_ms: alarms up to this instant are due.
            limit: the maximum number of alarms.
            alarms: the first alarms, the earliest first, with the job of each.
            queued: the number of queued instances of each job that has some. Likewise the others.
            messages: the number of messages that may be delivered.
            running: the number of claimed instances.
        """
        due, first = Counter[Job](), dict[Job, int]()
        number, last_ms = 0, None
        # The rows are in the order of their instants: the rows reach up to the last one.
        for job, at_ms in alarms:
            number, last_ms = number + 1, at_ms
            # The first of each job is its earliest.
            first.setdefault(job, at_ms)
            due[job] += at_ms <= until_ms
        found = tuple(
            JobWork(
                kind=job[0],
                name=job[1],
                queued=min(queued.get(job, 0), limit),
                due=due[job],
                messages=messages.get(job, 0),
                running=running.get(job, 0),
                next_alarm_ms=first.get(job),
            )
            for job in jobs
        )
        # Fewer rows than the limit: all alarms were read, so the counts are complete.
        return cls(jobs=found, alarms_to_ms=last_ms if number >= limit else None)


@attrs.frozen(kw_only=True)
class QueuedLane:
    """A lane's first queued instances.

    Attributes:
        lane: the lane.
        instances: its first queued instances, in order.
        rest: whether more instances are queued in it.
    """

    __repr__ = fields_in_line

    lane: str
    instances: tuple[Instance, ...]
    rest: Literal["none", "some"]


@attrs.frozen(kw_only=True)
class UnreadEvent:
    """An event that this version of the library cannot decode, usually because a newer version wrote it.

    Attributes:
        type: the stored type name.
        address: the instance, printed ``kind:name:id``.
        at_ms: when the event happened, integer milliseconds UTC.
        body: its fields, as stored.
        reason: why it cannot be decoded.
    """

    __repr__ = fields_in_line

    type: str
    address: str
    at_ms: int
    body: str
    reason: str

    @property
    def at(self) -> datetime:
        """When the event happened, in UTC."""
        return from_ms(self.at_ms)


@attrs.frozen(kw_only=True)
class LoggedEvent:
    """An event with its sequence number in the log. Later events have greater numbers, possibly with gaps."""

    sequence: int
    event: Event | UnreadEvent


@attrs.frozen(kw_only=True)
class Cursor:
    """A sink's position in the log.

    Attributes:
        sequence: the number up to which it was moved. None before the first move.
        last: the newest event's number, also if retention has deleted the event. 0 before the first event.
        deleted: how many events after the position retention has deleted.
    """

    sequence: int | None
    last: int
    deleted: int = 0


@attrs.frozen(kw_only=True)
class Retention:
    """The limits for ``prune``.

    Attributes:
        now_ms: the current time. Idempotency keys that have expired by then are deleted.
        events_since_ms: events older than this instant are deleted.
        max_events: how many of the newest events to keep.
        dead_letters_since_ms: dead letters whose message was sent before this instant are deleted, by default none.
        limit: the maximum number of rows to delete in one call, so that no call takes long.
    """

    now_ms: int
    events_since_ms: int
    max_events: int
    dead_letters_since_ms: int = 0
    limit: int = 1_000


@attrs.frozen(kw_only=True)
class Health:
    """A store's health.

    Attributes:
        state: ``ok``, ``degraded`` when the store works and has a problem, such as rows that cannot be read, or
            ``failed`` when it does not work.
        detail: the problem.
        unserved_messages: messages that wait for jobs that the app does not serve. The engine counts them, up to 1,000
            and at least the first for each sender and target. A store leaves it 0.
        cache_bytes: size of the instances that the engine keeps in memory. A store leaves it 0.
        max_cache_bytes: the cache's bound. 0 if the engine keeps no cache.
        file_bytes: the store file's size. 0 if it has none.
        log_bytes: the write-ahead log's size.
    """

    __repr__ = fields_in_line

    state: Literal["ok", "degraded", "failed"]
    detail: str = ""
    unserved_messages: int = 0
    cache_bytes: int = 0
    max_cache_bytes: int = 0
    file_bytes: int = 0
    log_bytes: int = 0


@attrs.frozen
class BackupProgress:
    """How far a backup has come.

    Attributes:
        copied_bytes: the copied size so far. It may decrease, when a transaction was rolled back.
        total_bytes: the store's size, which grows while the store is written to.
    """

    copied_bytes: int
    total_bytes: int


@attrs.frozen
class Backup:
    """A backup that is complete and on stable storage.

    Attributes:
        path: its absolute path.
        size_bytes: its size.
    """

    __repr__ = fields_in_line

    path: str
    size_bytes: int


OnBackupProgress: TypeAlias = Callable[[BackupProgress], None]
"""Called with a backup's progress after each step."""


class StoredStreams(Protocol):
    """The capability ``streams``: the chunks that runs emit."""

    def append(
        self, groups: Sequence[StreamGroup], /
    ) -> FutureResult[tuple[int | None, ...], StoreError | OutcomeUnknown]:
        """Append groups, in their order, and return the offset at which each begins; None for one that is refused.

        A group is refused, and nothing of it is written, unless the instance of that incarnation has a claim, of a run
        or of an event, with the group's owner, run, attempt and deliveries: compared in the transaction that writes it.
        Offsets of a stream begin at 0 and are dense: a group begins ``skipped`` offsets after the last one before it.
        In the same transaction it deletes the oldest groups that the newest ``max_chunks`` offsets and the newest
        ``max_bytes`` bytes do not reach into; the last group stays. It is durable like a commit.
        """
        ...

    def read(
        self, address: Address, incarnation: int, stream: str, after: int, limit: int, max_bytes: int, /
    ) -> FutureResult[tuple[StoredGroup, ...], StoreError]:
        """Return the first groups with an offset greater than ``after``, in order, up to the limit.

        Those behind the first one have at most ``max_bytes`` together, by their ``size``.
        There are none once that incarnation is purged: ``Purge`` deletes them. Appending and reading cost the same,
        however long the stream is.
        """
        ...

    def last(self, address: Address, incarnation: int, stream: str, /) -> FutureResult[int, StoreError]:
        """Return the offset at which the newest group ends, and -1 if there is none."""
        ...


@attrs.frozen
class StoredHistory:
    """How long a store keeps the history of a job, and how much of it is out of the log.

    Attributes:
        kind: the job's kind.
        name: the job's name.
        age_ms: how long its events are kept, in milliseconds.
        events: how many events are kept out of the log at most.
        kept: how many events are kept out of the log.
    """

    kind: str
    name: str
    age_ms: int
    events: int
    kept: int


class StoredHistories(Protocol):
    """The capability ``histories``: events that are kept after they have left the log.

    ``prune`` moves the events of a job with a declared history out of the log where it would delete them, unless they
    are older than that history's age. Then it deletes, for each declared job, the kept events that are too old or not
    among the newest ``events``, from the first one up to the first that is kept. It counts moved and deleted events up
    to its limit, and a sink's position counts moved events as deleted. Each call is one commit. ``history`` returns
    kept events like those in the log.
    """

    def declare(self, jobs: Mapping[Job, KeepHistory], /) -> FutureResult[None, StoreError]:
        """State how long these jobs' histories are kept, durable like a commit. Other jobs stay as they are.

        The last declaration of a job counts, also for other openings.
        """
        ...

    def known(self) -> FutureResult[tuple[StoredHistory, ...], StoreError]:
        """Return the declared histories, by kind and name, in a time that depends on their number alone."""
        ...
