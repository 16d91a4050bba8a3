"""Records that tools read: instance lists, steps, outcomes, counts, engines, and unfinished work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, TypeAlias, get_args, overload

import attrs

from perdure.values.address import Address
from perdure.values.excerpt import excerpt, fields_in_line, size_only
from perdure.values.limits import Limit, Rate
from perdure.values.status import FailureRecord, Hold, InstanceStatus, Status
from perdure.values.times import from_ms

ListedStatus: TypeAlias = Literal[Status, "orphaned"]
"""The status of an instance in a list: ``orphaned`` when the engine does not serve its job."""

LISTED_STATUSES: Final[tuple[ListedStatus, ...]] = get_args(ListedStatus)


@attrs.frozen(kw_only=True)
class Listed:
    """One instance in a list.

    Attributes:
        address: kind, job and id.
        status: its status. ``orphaned`` when the engine does not serve its job.
        report: its report, as ``status`` returns it.
    """

    __repr__ = fields_in_line

    address: Address
    status: ListedStatus
    report: InstanceStatus


@attrs.frozen(kw_only=True)
class ListFilter:
    """The instances that a caller asks for, ordered by addresses. All arguments are checked.

    Attributes:
        kind: only this kind. None for every kind.
        name: only jobs with this name. None for every job, served or not.
        status: only this status. None for every status.
        id_prefix: only ids that begin with this text.
        due_before_ms: only instances that are due before this instant.
        where: only instances whose attributes meet all these conditions, such as ``amount>100``.
        after: the previous page's last address.
        limit: maximum number.
        max_scanned: about how many instances the store may read to find them. None for all.
    """

    __repr__ = fields_in_line

    kind: str | None = None
    name: str | None = None
    status: ListedStatus | None = None
    id_prefix: str = ""
    due_before_ms: int | None = None
    where: tuple[str, ...] = ()
    after: Address | None = None
    limit: int = 100
    max_scanned: int | None = None


@attrs.frozen(kw_only=True)
class Listing(Sequence[Listed]):
    """A page of instances: a sequence that also says where the next page begins.

    Attributes:
        instances: the instances, ordered by addresses.
        after: the address to continue after, as ``after=`` in the next call. None at the list's end.
        partial: whether the search stopped at ``max_scanned``, before the page was full and before the end.
        complete: whether every instance has the attributes that were asked for. If not, some that match may be missing:
            an attribute is new and is being filled, other code writes the job, or a value could not be computed.
    """

    __repr__ = fields_in_line

    instances: tuple[Listed, ...] = ()
    after: Address | None = None
    partial: bool = False
    complete: bool = True

    @overload
    def __getitem__(self, index: int) -> Listed: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Listed, ...]: ...
    def __getitem__(self, index: int | slice) -> Listed | tuple[Listed, ...]:
        """Return one instance, or a slice."""
        return self.instances[index]

    def __len__(self) -> int:
        return len(self.instances)


@attrs.frozen(kw_only=True)
class InstanceOutcome:
    """How an instance ended, as tools show it: without secrets.

    Attributes:
        form: the kind's word for the end: ``done``, ``failed``, or ``cancelled`` for a workflow.
        value: its value as JSON.
    """

    __repr__ = fields_in_line

    form: str
    value: str | None = attrs.field(default=None, repr=size_only)
    error: FailureRecord | None = None
    reason: str | None = attrs.field(default=None, repr=excerpt)


@attrs.frozen(kw_only=True)
class StepRecord:
    """A step that an instance has performed, is retrying, or waits for. It holds no secret.

    Attributes:
        path: the step's position in its program.
        name: the step's name.
        status: ``done``, ``failed``, ``retrying``, ``waiting``, or another word that the kind uses.
        attempts: the attempts so far. 0 if it has not begun.
        began_ms: when the last attempt began, or when the program reached the wait, integer milliseconds UTC. None if
            neither has happened.
        at_ms: when the step ended. For a retry or a timer, when it is due. None if neither is known.
        value: the outcome as JSON. None if there is none.
        error: the last attempt's error. None if it did not fail.
    """

    __repr__ = fields_in_line

    path: str
    name: str
    status: str
    attempts: int = 1
    began_ms: int | None = None
    at_ms: int | None = None
    value: str | None = attrs.field(default=None, repr=size_only)
    error: FailureRecord | None = None


@attrs.frozen(order=True)
class StatusCount:
    """How many of one job's instances have one status. Never 0."""

    __repr__ = fields_in_line

    kind: str
    name: str
    status: Status
    number: int


@attrs.frozen(kw_only=True)
class StoreCounts:
    """A store's counts.

    Attributes:
        instances: the instance count for each job and status, ordered by kind, name and status.
        complete: whether ``instances`` counts all instances. A store that is still counting returns those that it has
            counted so far.
        age_ms: how long ago the instances were counted. 0 unless a store keeps counts that take long.
        oldest_due_ms: the earliest alarm, integer milliseconds UTC, due or not. None if no alarm is set.
        messages: messages that wait for their delivery, at most `MAX_COUNTED`.
        dead_letters: messages that failed too often, at most `MAX_COUNTED`.
    """

    __repr__ = fields_in_line

    instances: tuple[StatusCount, ...] = ()
    complete: bool = True
    age_ms: int = 0
    oldest_due_ms: int | None = None
    messages: int = 0
    dead_letters: int = 0

    @property
    def oldest_due(self) -> datetime | None:
        """The earliest alarm, due or not, in UTC. None if no alarm is set."""
        return None if self.oldest_due_ms is None else from_ms(self.oldest_due_ms)

    @property
    def total(self) -> int:
        """The instance count."""
        return sum(count.number for count in self.instances)

    def by_status(self) -> Mapping[Status, int]:
        """Count the instances with each status that occurs, over all jobs."""
        totals: dict[Status, int] = {}
        for count in self.instances:
            totals[count.status] = totals.get(count.status, 0) + count.number
        return totals


MAX_COUNTED = 10_000
"""The largest number of messages that a store counts: `StoreCounts` says this number for any larger one."""


@attrs.frozen(kw_only=True)
class HoldResult:
    """Result of ``hold`` and ``release``.

    Attributes:
        changed: whether the call changed anything.
        hold: whether the job is held now.
    """

    changed: bool
    hold: Hold


@attrs.frozen(kw_only=True)
class JobCount:
    """Result of ``count``.

    Attributes:
        hold: whether the job is held.
        by_status: the instance count for each status that occurs.
        complete: whether that counts all instances. A store that is still counting returns those counted so far.
        age_ms: how long ago they were counted. 0 unless a store keeps counts that take long.
        oldest: when the longest waiting queued instance was created, among the first ones in the first 1,000 lanes.
            None if none is queued.
        ended: how many runs of the job ended since the engine started. None for a job without its own limit.
    """

    __repr__ = fields_in_line

    hold: Hold
    by_status: Mapping[Status, int]
    complete: bool = True
    age_ms: int = 0
    oldest: datetime | None = None
    ended: int | None = None

    @property
    def total(self) -> int:
        """The instance count."""
        return sum(self.by_status.values())


@attrs.frozen(kw_only=True)
class MatchCount:
    """Result of ``count_matching``.

    Attributes:
        number: how many instances match.
        complete: whether every instance has the attributes that were asked for. See `Listing`.
    """

    __repr__ = fields_in_line

    number: int
    complete: bool = True


@attrs.frozen(kw_only=True)
class ForkProblem:
    """A workflow that ``fork_many`` did not fork.

    Attributes:
        id: the workflow.
        message: the error's text, shortened.
    """

    __repr__ = fields_in_line

    id: str
    message: str = attrs.field(repr=excerpt)


@attrs.frozen(kw_only=True)
class ForkedMany:
    """Result of ``fork_many``.

    Attributes:
        matched: how many workflows match.
        created: how many forks this call began. 0 in a dry run.
        existed: how many ids existed already. They were left unchanged.
        refused: how many workflows could not be forked.
        problems: the first ones that were refused.
        after: the address to continue after, as ``after=`` in the next call. None at the list's end.
        complete: whether every workflow that matches was found. See `Listing`.
    """

    __repr__ = fields_in_line

    matched: int = 0
    created: int = 0
    existed: int = 0
    refused: int = 0
    problems: tuple[ForkProblem, ...] = ()
    after: Address | None = None
    complete: bool = True

    def and_then(self, later: ForkedMany) -> ForkedMany:
        """Add the next page's numbers."""
        return ForkedMany(
            matched=self.matched + later.matched,
            created=self.created + later.created,
            existed=self.existed + later.existed,
            refused=self.refused + later.refused,
            problems=(*self.problems, *later.problems)[:MAX_PROBLEMS],
            after=later.after,
            complete=self.complete and later.complete,
        )


MAX_PROBLEMS: Final = 100
"""The most workflows that a result names as not forked."""


@attrs.frozen(kw_only=True)
class JobDemand:
    """The work of one job: what waits for an engine, and what engines do. No number is greater than `MAX_COUNTED`.

    Attributes:
        kind: the job's kind.
        name: its name.
        hold: whether the job is held. The work of a held job waits for its release, and for no engine.
        queued: a pool's items that wait for a worker, or a workflow's starts that wait for their place.
        due: instances without a run whose alarm, timer or retry is due.
        messages: messages to the job that can be delivered, of each sender the first.
        running: instances with a run in progress.
        next_alarm_ms: their earliest alarm, timer or retry, due or not, integer milliseconds UTC. If `MAX_COUNTED`
            alarms of other jobs come first, the last one of these: the job has none before it. None if there is none.
        total: all four numbers together; of a held job only ``running``.
    """

    __repr__ = fields_in_line

    kind: str
    name: str
    hold: Hold = "released"
    queued: int = 0
    due: int = 0
    messages: int = 0
    running: int = 0
    next_alarm_ms: int | None = None
    total: int = 0

    @property
    def next_alarm(self) -> datetime | None:
        """``next_alarm_ms`` in UTC."""
        return None if self.next_alarm_ms is None else from_ms(self.next_alarm_ms)


@attrs.frozen(kw_only=True)
class Demand:
    """The work of the jobs that an engine serves, on the whole store: what an autoscaler asks for.

    Attributes:
        jobs: the jobs, ordered by kind and name.
        total: the work of all jobs together. Divide it by the work that one engine should have.
    """

    __repr__ = fields_in_line

    jobs: tuple[JobDemand, ...] = ()
    total: int = 0


LIMIT_NUMBERS: Final = ("concurrency", "rate", "concurrency_per_key", "rate_per_key")
"""The numbers that a limit with a name may have."""


@attrs.frozen(kw_only=True)
class LimitNumbers:
    """The numbers of a limit with a name. None: it has no such number.

    Attributes:
        concurrency: how many runs and calls may be in progress.
        rate: how many may begin in any window.
        concurrency_per_key: as ``concurrency``, for each key.
        rate_per_key: as ``rate``, for each key.
    """

    __repr__ = fields_in_line

    concurrency: int | None = None
    rate: Rate | None = None
    concurrency_per_key: int | None = None
    rate_per_key: Rate | None = None

    @classmethod
    def of(cls, limit: Limit) -> LimitNumbers:
        """Return the numbers that the code declares."""
        return cls(**{name: getattr(limit, name) for name in LIMIT_NUMBERS})

    @property
    def has_keys(self) -> bool:
        """Whether a number counts each key apart."""
        return self.concurrency_per_key is not None or self.rate_per_key is not None

    @property
    def given(self) -> Mapping[str, int | Rate]:
        """The numbers that it has, by name."""
        found = ((name, getattr(self, name)) for name in LIMIT_NUMBERS)
        return {name: number for name, number in found if number is not None}


@attrs.frozen(kw_only=True)
class KeyUse:
    """A key of a limit in one engine.

    Attributes:
        key: the key.
        in_use: the permits of its runs and calls in progress.
        waiting: how many runs, calls and items wait.
    """

    __repr__ = fields_in_line

    key: str
    in_use: int = 0
    waiting: int = 0


@attrs.frozen(kw_only=True)
class NamedLimit:
    """A limit with a name, and its use. A run or call with a cost has that many permits.

    Attributes:
        name: the limit.
        declared: the numbers in the code of the engine that answers.
        current: those in effect, after changes with ``set_limit``.
        in_use: the permits of runs and calls in progress in this engine.
        waiting: how many runs, calls and pool items wait for permits in this engine.
        keys: how many keys have runs, calls or items in progress or waiting in this engine.
        busiest: the ten of these keys with the most that wait, then with the most permits.
        leased: the permits to run that all engines on the store have, used or not. 0 without a ``concurrency``.
        wanted: the permits that engines on the store wait for.
        begun: the permits of runs and calls that began within the window of ``rate``, over all engines. It includes
            those that are about to begin. 0 without a ``rate``.
    """

    __repr__ = fields_in_line

    name: str
    declared: LimitNumbers
    current: LimitNumbers
    in_use: int = 0
    waiting: int = 0
    keys: int = 0
    busiest: tuple[KeyUse, ...] = ()
    leased: int = 0
    wanted: int = 0
    begun: int = 0


@attrs.frozen(kw_only=True)
class ServedVersion:
    """A job that an engine serves."""

    __repr__ = fields_in_line

    kind: str
    name: str
    state_version: int


@attrs.frozen(kw_only=True)
class EngineMember:
    """One engine on a shared store.

    Attributes:
        epoch: the number of the engine's opening. Claims carry it.
        label: its process, such as ``host:pid``, if the store knows it.
        joined_ms: when it opened the store, by the store's clock, integer milliseconds UTC.
        lease_left_ms: how long its lease lasts from now. Negative when it has ended, and no engine has noticed it.
        served: the jobs that it serves. None while it stops.
        share: which part of the alarms, messages and abandoned claims it handles, over all jobs that engines serve: 0
            to 1. The members' shares add up to 1.
    """

    __repr__ = fields_in_line

    epoch: int
    label: str
    joined_ms: int
    lease_left_ms: int
    served: tuple[ServedVersion, ...] = ()
    share: float = 0.0

    @property
    def joined(self) -> datetime:
        """When it opened the store, in UTC."""
        return from_ms(self.joined_ms)


@attrs.frozen(kw_only=True)
class InFlight:
    """Accepted and unfinished work.

    Attributes:
        instances: instances with a mailbox: requests wait for them, or a run is in progress.
        requests: requests that wait or are being served, as ``Limits.max_pending`` counts them.
        programs: user programs in progress.
        slots: slots in use, the engine's and the jobs'.
        waiting_for_slot: runs that wait for a slot.
        waiting_for_room: callers that wait until there is room for their request.
        alarms: alarms that were fired and are not settled.
        messages: sender and target pairs with a message in progress.
        claims_to_recover: runs with an unknown end that the engine will recover soon.
    """

    __repr__ = fields_in_line

    instances: tuple[Address, ...] = ()
    requests: int = 0
    programs: int = 0
    slots: int = 0
    waiting_for_slot: int = 0
    waiting_for_room: int = 0
    alarms: int = 0
    messages: int = 0
    claims_to_recover: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether the engine is idle."""
        return self == _IDLE

    def described(self) -> tuple[str, ...]:
        """Describe the work, one line per item."""
        lines = [
            f"{count} {_UNFINISHED[name]}"
            for name, count in attrs.asdict(self).items()
            if name in _UNFINISHED and count
        ]
        return (*(f"a mailbox of {address}" for address in self.instances), *lines)


_IDLE = InFlight()
_UNFINISHED = {
    "requests": "pending requests",
    "programs": "programs in progress",
    "slots": "slots in use",
    "waiting_for_slot": "runs waiting for a slot",
    "waiting_for_room": "callers waiting for room",
    "alarms": "alarms that are not settled",
    "messages": "messages in progress",
    "claims_to_recover": "claims to recover",
}
