"""Looks after stored instances, besides alarms and messages.

Before the engine accepts requests, it recovers abandoned runs and creates the instances that an app declares. Then it
takes up the instances and messages that other code left, fills attributes, and deletes expired keys, events and dead
letters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NoReturn

import attrs
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.engine.dispatcher import Dispatcher
from perdure.engine.loops.outbox import Outbox
from perdure.engine.loops.waker import Waker
from perdure.engine.mailbox.entry import TurnAnswer
from perdure.engine.mailbox.instance_cache import InstanceCache
from perdure.engine.runs.concurrency import Holds
from perdure.jobs.attributes import declared_by, keys_of
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.ensured import Ensured
from perdure.jobs.request import RECOVER, TAKE_UP, TakeUp
from perdure.programs.container import result_inside
from perdure.programs.future import answer_of
from perdure.runtime.record import Future, LogRecord, Runtime, Sizes, SpawnedTask
from perdure.stores.attributes import StoredAttributes
from perdure.stores.contract import Answered, NotCommitted, Store, overlay
from perdure.stores.snapshots import read_journal
from perdure.stores.values import FilledPage, FilledRow, Query, Retention, StoredHistory, StoredWork
from perdure.values.address import Address, Job
from perdure.values.attributes import AttributeKeys, StoredAttribute
from perdure.values.errors import EnsureFailed, InvalidInput, OutcomeUnknown, StoreError
from perdure.values.instance import Fence, Instance
from perdure.values.limits import Limits
from perdure.values.listings import MAX_COUNTED, InFlight
from perdure.values.times import format_duration
from perdure.values.transition import Purge, Put, Transition


@attrs.frozen
class FollowingHolds:
    """Reads the held jobs as soon as the store says that another engine has changed them.

    Attributes:
        wake: the store wakes this loop.
    """

    holds: Holds
    wake: Waker

    async def run(self) -> NoReturn:
        """Read them after each change."""
        while True:
            await self.wake.wait_until(None)
            try:
                await self.holds.read()
            except (StoreError, OutcomeUnknown) as error:
                # The engine reads them periodically as well: a call of the store may be missing.
                self.wake.runtime.log(LogRecord("warning", "held jobs not read", {"error": str(error)}))


@attrs.frozen
class Recovery:
    """Puts a recovery at the head of the mailbox of every instance that needs one.

    Attributes:
        store: returns the instances with a claim.
        jobs: the served definitions. Instances of other jobs are ignored.
        recovers: whether this engine recovers the claims of a row that the store returned.
    """

    store: Store
    dispatcher: Dispatcher
    jobs: Mapping[tuple[str, str], AnyDefinition]
    recovers: Callable[[Instance], bool] = lambda _: True
    limits: Limits = Limits()

    async def claims(self) -> int:
        """Post the recoveries of abandoned runs, and return their number.

        Raises:
            StoreError: the store failed.
        """
        recovered = 0
        after, page = 0, self.limits.recovery_page
        while rows := await _page(lambda: self.store.claimed(after, page)):  # noqa: B023 - awaited at once
            recovered += self._post(tuple(filter(self.recovers, rows)))
            after = rows[-1].incarnation
        return recovered

    def _post(self, rows: tuple[Instance, ...]) -> int:
        posted = 0
        for row in rows:
            job = self.jobs.get((row.address.kind, row.address.name))
            if job is not None:
                # Without weight: a recovery must not be refused because callers fill the mailboxes.
                self.dispatcher.post(job, row.address, RECOVER, pending_weight=0)
                posted += 1
        return posted


async def _page(read: Callable[[], FutureResult[tuple[Instance, ...], Any]]) -> tuple[Instance, ...]:
    answer = result_inside(await read())
    if isinstance(answer, Success):
        rows: tuple[Instance, ...] = answer.unwrap()
        return rows
    raise answer.failure()


PATIENCE_MS: Final = 10_000
"""How long the start of the engine waits for requests that wait for a slot or for a service."""


@attrs.define
class Ensuring:
    """Creates the declared instances that the store does not have. Existing ones remain as they are.

    Attributes:
        tasks: the tasks that create them. The engine cancels them when it stops.
        created: how many were created so far.
    """

    cache: InstanceCache
    runtime: Runtime
    dispatcher: Dispatcher
    declared: Sequence[Ensured]
    tasks: list[SpawnedTask[Any]] = attrs.Factory(list[SpawnedTask[Any]])
    created: int = 0
    _left: int = 0
    _over: Future[EnsureFailed | None] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._over = self.runtime.future()

    async def run(self) -> None:
        """Create them. Return when each exists, or after `PATIENCE_MS`: the remaining ones are created later.

        Raises:
            EnsureFailed: one could not be created. Others remain.
        """
        if not self.declared:
            return
        self._left = len(self.declared)
        waiting = iter(self.declared)
        self.tasks.extend(
            self.runtime.spawn(self._create_each(waiting), name="declared instances")
            for _ in range(min(self.runtime.sizes.ensured_at_once, self._left))
        )
        timer = self.runtime.call_later(PATIENCE_MS, self._stop_waiting)
        try:
            failed = await self._over
        finally:
            timer.cancel()
        if failed is not None:
            raise failed from failed.error

    async def _create_each(self, waiting: Iterator[Ensured]) -> None:
        # One iterator for all tasks: each takes the next declaration.
        for declared in waiting:
            match await self._created(declared):
                case Success(found):
                    self.created += found == "absent"
                    self._left -= 1
                case Failure(error):
                    self._fail(EnsureFailed(str(declared.address), declared.request.action, error))
            if self._left == 0:
                self._log("info", "declared instances exist", declared=len(self.declared), created=self.created)
                self._settle(None)

    async def _created(self, declared: Ensured) -> Success[Literal["absent", "exists"]] | Failure[Exception]:
        loaded = await self.cache.load(declared.address)
        if not isinstance(loaded, Success):
            return Failure(loaded.failure())
        if loaded.unwrap().instance is not None:
            return Success("exists")
        # It waits for room: the start of the engine must not fail because a mailbox is full.
        await self.dispatcher.room_for(declared.address)
        answer: Result[Any, Any] = await self.dispatcher.post(declared.job, declared.address, declared.request)
        return Success("absent") if isinstance(answer, Success) else Failure(answer.failure())

    def _fail(self, failed: EnsureFailed) -> None:
        if self._over.done():  # the engine serves by now
            self._log("error", "a declared instance was not created", job=failed.address, error=str(failed.error))
        self._settle(failed)

    def _stop_waiting(self) -> None:
        if not self._over.done():
            self._log("warning", "declared instances are created later", waiting=self._left)
        self._settle(None)

    def _settle(self, failed: EnsureFailed | None) -> None:
        if not self._over.done():
            self._over.set_result(failed)

    def _log(self, level: Literal["info", "warning", "error"], message: str, **fields: object) -> None:
        self.runtime.log(LogRecord(level, message, {"store": self.cache.store.name} | fields))


POLL_MS: Final = 500
"""How often an engine of a shared store looks for instances that engines of other code have left."""


@attrs.define(eq=False)
class TakingUp:
    """The loop that tries the instances that other code left and this code did not.

    Each attempt changes the mark: this code continues the instance, or its fingerprint joins those that left it. So the
    loop tries each instance once, and a query costs no more for those that this code left.

    Attributes:
        store: returns the instances that other code left.
        runtime: the only interface to time.
        outbox: delivers the messages that other code left.
        codes: the fingerprint of each.
        others: whether engines of other code may write the store at the same time.
    """

    store: Store
    runtime: Runtime
    dispatcher: Dispatcher
    outbox: Outbox
    jobs: Mapping[Job, AnyDefinition]
    codes: Mapping[Job, str]
    limits: Limits
    others: bool
    _wake: Waker = attrs.field(init=False)
    _posted: dict[Address, Future[TurnAnswer]] = attrs.Factory(dict[Address, "Future[TurnAnswer]"])

    def __attrs_post_init__(self) -> None:
        self._wake = Waker(self.runtime)

    async def run(self) -> NoReturn:
        """Take up instances until the task is cancelled. An engine that owns its store looks until none is left."""
        while True:
            found = await self._look()
            if found == "nothing" and not self.others:
                await Waker(self.runtime).wait_until(None)
            if found != "nothing" and self._posted:
                await self._wake.wait_until(self.runtime.now_ms() + POLL_MS)
            if found != "page" or self._posted:
                await self.runtime.sleep(POLL_MS)

    async def _look(self) -> Literal["page", "some", "nothing"]:
        """Try left instances. Return whether they were a full page, some or none."""
        offered = await self.outbox.deliver_left(self.codes)
        limit = self.limits.recovery_page
        # Those that are being tried are still in the store: without room for them the page would hold nothing new.
        match await answer_of(self.store.left_to(self.codes, limit + len(self._posted))):
            case Success(rows):
                for row in rows:
                    if row.address not in self._posted:
                        await self._try(row)
                return "page" if len(rows) >= limit else "some" if rows or offered else "nothing"
            case Failure(error):
                self.runtime.log(LogRecord("warning", "left instances not read", {"error": str(error)}))
                return "some"
            case unexpected:
                raise TypeError(f"a store returns Success or Failure, not {unexpected!r}")

    async def _try(self, row: Instance) -> None:
        job, address = self.jobs[row.address.kind, row.address.name], row.address
        problem = await self._diverged(job, row)
        request = TAKE_UP if problem is None else attrs.evolve(TAKE_UP, command=TakeUp(problem))
        answer = self._posted[address] = self.dispatcher.post(job, address, request, pending_weight=0)
        answer.add_done_callback(lambda _: self._tried(address))

    def _tried(self, address: Address) -> None:
        del self._posted[address]
        if not self._posted:
            self._wake.notify()

    async def _diverged(self, job: AnyDefinition, row: Instance) -> InvalidInput | None:
        """Return why a job's code cannot continue from a row's journal. It performs nothing."""
        if not job.keeps_journal:
            return None
        rows = await read_journal(self.store, row, self.limits.journal_page)
        if not isinstance(rows, Success):
            return None  # the run reads it again
        try:
            job.check_journal(row, rows.unwrap())
        except InvalidInput as problem:
            return problem
        return None


EVERY_MS = 600_000
"""Ten minutes between two rounds, in milliseconds."""


@attrs.frozen
class Maintenance:
    """The loop that applies retention and checks the store's health.

    Attributes:
        runtime: the only interface to time.
        jobs: the served definitions, some of which keep their history longer.
    """

    store: Store
    runtime: Runtime
    limits: Limits
    jobs: Mapping[Job, AnyDefinition]

    async def run(self) -> None:
        """Prune and check every ten minutes, until the task is cancelled."""
        while True:
            await self.runtime.sleep(EVERY_MS)
            await self.prune()
            await self.look_after_health()

    async def look_after_health(self) -> None:
        """Log a warning if the store works but is degraded."""
        health = result_inside(await self.store.health())
        if isinstance(health, Success) and health.unwrap().state != "ok":
            fields = {"store": self.store.name, **attrs.asdict(health.unwrap())}
            self.runtime.log(LogRecord("warning", "store degraded", fields))

    async def prune(self) -> None:
        """Delete everything past its retention, a page at a time."""
        if (problem := await self._declare_histories()) is not None:
            self.runtime.log(LogRecord("warning", "retention failed", {"error": str(problem)}))
            return
        # One instant for all pages: the bound must not move while it is applied.
        now_ms = self.runtime.now_ms()
        retention = Retention(
            now_ms=now_ms,
            events_since_ms=now_ms - self.limits.history_retention_ms,
            max_events=self.limits.history_events,
            dead_letters_since_ms=max(0, now_ms - self.limits.dead_letter_retention_ms),
            limit=self.limits.recovery_page,
        )
        while True:
            pruned = result_inside(await self.store.prune(retention))
            if not isinstance(pruned, Success):
                self.runtime.log(LogRecord("warning", "retention failed", {"error": str(pruned.failure())}))
                return
            if pruned.unwrap() < retention.limit:
                return
            # Requests of callers come in between.
            await self.runtime.sleep(0)

    async def _declare_histories(self) -> StoreError | None:
        """State how long the served jobs keep their histories, if the store says otherwise. Return why that failed.

        A job without the option states nothing: after a rollback, older code must not delete what newer code keeps.
        """
        wanted = {job: definition.plan.history for job, definition in self.jobs.items() if definition.plan.history}
        if self.store.histories is None or not wanted:
            return None
        known: Result[tuple[StoredHistory, ...], StoreError] = await answer_of(self.store.histories.known())
        if not isinstance(known, Success):
            return known.failure()
        stored = {(one.kind, one.name): (one.age_ms, one.events) for one in known.unwrap()}
        changed = {job: kept for job, kept in wanted.items() if (kept.age_ms, kept.events) != stored.get(job)}
        # Before anything is pruned: an event that has left the log without it is lost.
        declared: Result[None, StoreError] = (
            await answer_of(self.store.histories.declare(changed)) if changed else Success(None)
        )
        return None if isinstance(declared, Success) else declared.failure()


@attrs.frozen
class RestWhenIdle:
    """When an engine without work may close its store, so that a database that scales to zero can do so.

    Attributes:
        idle_ms: how long neither a request nor a commit came before. No alarm is due for that long, either.
        at_most_ms: how long a rest lasts if nothing ends it. Then the engine looks for messages of other writers.
    """

    idle_ms: int
    at_most_ms: int


@attrs.frozen
class Resting:
    """A rest that may begin.

    Attributes:
        for_ms: how long it lasts if no request ends it.
    """

    for_ms: int
    reason: str


@attrs.frozen
class Idleness:
    """Finds when an engine may rest: it has nothing to do, and the store has no work for it.

    Attributes:
        maintenance: applies retention first: an engine that rests often lives shorter than the pause of that loop.
        holds: the held jobs, whose work does not wait for an engine.
        in_flight: returns the engine's unfinished work.
        busy_ms: returns when the last request or commit came, on the monotonic clock.
    """

    maintenance: Maintenance
    holds: Holds
    in_flight: Callable[[], InFlight]
    busy_ms: Callable[[], float]
    rest: RestWhenIdle

    async def found(self) -> Resting:
        """Wait until the engine may rest. It reads the store once in each idle time, and never while work comes."""
        runtime = self.maintenance.runtime
        while True:
            while (left_ms := self._left_ms()) > 0:
                await runtime.sleep(left_ms)
            await self.maintenance.prune()
            for_ms = await self._free_ms()
            # Again: a request or a commit may have come during the reads.
            if for_ms is not None and self._left_ms() <= 0 and self.in_flight() == InFlight():
                return Resting(for_ms, f"no work for {format_duration(self.rest.idle_ms)}")
            await runtime.sleep(self.rest.idle_ms)

    def _left_ms(self) -> float:
        return self.busy_ms() + self.rest.idle_ms - self.maintenance.runtime.monotonic_ms()

    async def _free_ms(self) -> int | None:
        """Return how long the store has no work for this engine, at most for a rest. None if it has work soon."""
        store, runtime, jobs = self.maintenance.store, self.maintenance.runtime, sorted(self.maintenance.jobs)
        counts, now_ms = store.counts, runtime.now_ms()
        if counts is None:
            return None
        found = result_inside(await counts.work(jobs, now_ms, MAX_COUNTED))
        if not isinstance(found, Success):
            runtime.log(LogRecord("warning", "work not counted", {"error": str(found.failure())}))
            return None
        work: StoredWork = found.unwrap()
        alarms_ms = [self.rest.at_most_ms + now_ms]
        # A job without an alarm among those that were read may have one behind the last of them.
        if work.alarms_to_ms is not None:
            alarms_ms.append(work.alarms_to_ms)
        for one in work.jobs:
            # Of a held job only runs in progress count: its other work waits for the release.
            is_held = self.holds.of(one.kind, one.name) == "held"
            if one.running or (not is_held and (one.queued or one.due or one.messages)):
                return None
            if one.next_alarm_ms is not None and not is_held:
                alarms_ms.append(one.next_alarm_ms)
        free_ms = min(alarms_ms) - now_ms
        return free_ms if free_ms >= min(self.rest.idle_ms, self.rest.at_most_ms) else None


@attrs.define
class AttributeChanges:
    """Adds the changed attributes to transitions.

    Attributes:
        most: how many instances' keys are remembered.
    """

    jobs: Mapping[tuple[str, str], AnyDefinition]
    most: int
    _known: dict[Address, tuple[tuple[int, str, str], AttributeKeys]] = attrs.Factory(dict[Any, Any])

    def with_attributes(self, transition: Transition) -> Transition:
        """Return a transition with the attributes that it changes. A function of the states before and after it."""
        address, write = transition.address, transition.write
        job = self.jobs.get((address.kind, address.name))
        if job is None:
            return transition
        if type(write) is Purge:
            self._known.pop(address, None)
            return attrs.evolve(transition, attributes=())
        if type(write) is not Put:
            return transition
        before, after = transition.before, write.instance
        # The same text has the same attributes: their functions are pure.
        if before is not None and _text_of(before) == _text_of(after):
            return transition
        keys = keys_of(job, after)
        changed = keys
        if before is not None:
            # By purity: whatever wrote the row before, its attributes are those that these functions compute from it.
            held = dict(self._keys_before(job, before))
            changed = tuple(pair for pair in keys if held.get(pair[0]) != pair[1])
        self._remember(after, keys)
        return attrs.evolve(transition, attributes=changed) if changed else transition

    def _keys_before(self, job: AnyDefinition, instance: Instance) -> AttributeKeys:
        known = self._known.get(instance.address)
        return known[1] if known is not None and known[0] == _text_of(instance) else keys_of(job, instance)

    def _remember(self, instance: Instance, keys: AttributeKeys) -> None:
        # Removed first: the order of the dict is that of the last use, and the oldest entry is dropped.
        self._known.pop(instance.address, None)
        if len(self._known) >= self.most:
            del self._known[next(iter(self._known))]
        self._known[instance.address] = (_text_of(instance), keys)


def _text_of(instance: Instance) -> tuple[int, str, str]:
    """Return all that a visible state is read from."""
    return instance.state_version, instance.state, instance.data


def keeping_attributes(store: Store, jobs: Mapping[Job, AnyDefinition], sizes: Sizes) -> Store:
    """Return a store whose commits bring the attributes. The store itself if no job has any."""
    attributed = {place: job for place, job in jobs.items() if job.plan.attributes}
    if not attributed:
        return store
    changes = AttributeChanges(attributed, sizes.remembered_attributes)

    # Here, behind all that joins turns: a transition that leaves has its last state, and the row that it replaces.
    def commit(transitions: Sequence[Transition], answered: Answered[Fence, NotCommitted], /) -> None:
        store.commit([changes.with_attributes(each) for each in transitions], answered)

    return overlay(store, commit=commit)


@attrs.define(eq=False)
class FillingAttributes:
    """The loop that declares attributes, deletes the keys of old ones and fills new ones, in portions.

    Attributes:
        runtime: the only interface to time.
        is_own: whether this engine does the work on an address.
        others: whether other engines may write the store at the same time.
    """

    store: Store
    runtime: Runtime
    jobs: Mapping[Job, AnyDefinition]
    is_own: Callable[[Address], bool]
    others: bool
    _declared: Mapping[Job, Mapping[str, str]] = attrs.field(init=False)
    _reported: set[tuple[str, str, str]] = attrs.Factory(set[tuple[str, str, str]])

    def __attrs_post_init__(self) -> None:
        self._declared = {job: declared_by(definition) for job, definition in self.jobs.items()}

    async def begin(self) -> Literal["work", "nothing"]:
        """Declare the attributes, before the first commit. Return whether `run` has anything to do.

        Raises:
            StoreError: the store failed.
        """
        attributes, has_any = self.store.attributes, any(self._declared.values())
        if attributes is None:
            return "nothing"
        # An owned store knows only what its last engine has declared: without any there is nothing to say.
        if has_any or self.others or await self._known(attributes):
            await self._awaited(attributes.declare(self._declared))
        return "work" if has_any or await self._known(attributes) else "nothing"

    async def run(self) -> NoReturn:
        """Work until the task is cancelled. An engine that owns its store works until all attributes are whole."""
        attributes = self.store.attributes
        while attributes is not None:
            done = await self._round(attributes)
            if done == "nothing" and not (self.others and any(self._declared.values())):
                break
            await self.runtime.sleep(0 if done == "portion" else POLL_MS)
        await Waker(self.runtime).wait_until(None)
        raise AssertionError  # not reached: nothing notifies that waker

    async def _known(self, attributes: StoredAttributes) -> tuple[StoredAttribute, ...]:
        found: tuple[StoredAttribute, ...] = await self._awaited(attributes.known())
        return tuple(one for one in found if (one.kind, one.name) in self.jobs)

    async def _round(self, attributes: StoredAttributes) -> Literal["portion", "wait", "nothing"]:
        """Do one portion for each job."""
        try:
            known = await self._known(attributes)
            if self._is_amiss(known):
                await self._awaited(attributes.declare(self._declared))
                known = await self._known(attributes)
            self._report(known)
            # One engine fills an attribute: the others would do the same work.
            open_ = [one for one in known if one.state != "whole" and self.is_own(Address(one.kind, one.name, "*"))]
            moved = [await self._portion(attributes, one, open_) for one in open_]
        except (StoreError, OutcomeUnknown) as error:
            # A portion may be written twice: the next round reads how far each attribute is.
            self.runtime.log(LogRecord("warning", "attributes not filled", {"error": str(error)}))
            return "wait"
        if any(moved):
            return "portion"
        return "wait" if any(one.state != "whole" for one in known) else "nothing"

    def _is_amiss(self, known: tuple[StoredAttribute, ...]) -> bool:
        """Return whether the store's attributes are not those that this code computes, or in doubt."""
        found = {(one.kind, one.name, one.attribute): one.fingerprint for one in known}
        wanted = {(*job, name): code for job, declared in self._declared.items() for name, code in declared.items()}
        return found != wanted or any(one.doubt == "some" for one in known)

    def _report(self, known: tuple[StoredAttribute, ...]) -> None:
        for one in known:
            place = (one.kind, one.name, one.attribute)
            if one.failures and place not in self._reported:
                self._reported.add(place)
                fields = {"job": f"{one.kind}:{one.name}", "attribute": one.attribute}
                self.runtime.log(LogRecord("warning", "an attribute of some instances cannot be computed", fields))

    async def _portion(
        self, attributes: StoredAttributes, one: StoredAttribute, open_: Sequence[StoredAttribute]
    ) -> bool:
        """Clear or fill a portion of an attribute, with those that are as far. Return whether that was done."""
        job, size = (one.kind, one.name), self.runtime.sizes.attribute_rows
        if one.state == "clearing":
            before = one.generation
            await self._awaited(attributes.clear(job, one.attribute, size))
            return one.doubt == "none" and before == one.generation
        if one.doubt == "some" or self._declared[job].get(one.attribute) != one.fingerprint:
            return False
        alike = [each for each in open_ if _is_as_far(each, one)]
        if alike[0] is not one:
            return True  # the first of them fills all
        await self._fill(attributes, job, alike, size)
        return True

    async def _fill(self, attributes: StoredAttributes, job: Job, alike: Sequence[StoredAttribute], size: int) -> None:
        position = alike[0].position
        after = Address(*job, position) if position else None
        query = Query(kind=job[0], name=job[1], after=after, limit=size)
        rows: tuple[Instance, ...] = await self._awaited(self.store.find(query))
        names = {each.attribute for each in alike}
        page = FilledPage(
            generations=tuple((each.attribute, each.generation) for each in alike),
            rows=tuple(_filled(self.jobs[job], row, names) for row in rows),
            rest="some" if len(rows) == size else "none",
        )
        # Those that were changed meanwhile are in the next portion again, which begins at the same place.
        await self._awaited(attributes.fill(job, page))

    async def _awaited(self, operation: Any) -> Any:
        answer = await answer_of(operation)
        match answer:
            case Success(value):
                return value
            case Failure(error):
                raise error
            case unexpected:
                raise TypeError(f"a store returns Success or Failure, not {unexpected!r}")


def _is_as_far(each: StoredAttribute, one: StoredAttribute) -> bool:
    return (each.kind, each.name, each.state, each.position, each.doubt) == (
        *(one.kind, one.name, one.state, one.position, one.doubt),
    )


def _filled(job: AnyDefinition, row: Instance, names: set[str]) -> FilledRow:
    keys = tuple(pair for pair in keys_of(job, row) if pair[0] in names)
    return FilledRow(id=row.address.id, incarnation=row.incarnation, version=row.version, keys=keys)
