"""Looks after stored instances, besides alarms and messages.

Before the engine accepts requests, it recovers abandoned runs and creates the instances that an app declares. Then it
takes up the instances and messages that other code left, and deletes expired keys, events and dead letters.
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
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.ensured import Ensured
from perdure.jobs.request import RECOVER, TAKE_UP, TakeUp
from perdure.programs.container import result_inside
from perdure.programs.future import answer_of
from perdure.runtime.record import Future, LogRecord, Runtime, SpawnedTask
from perdure.stores.contract import Store
from perdure.stores.snapshots import read_journal
from perdure.stores.values import Retention
from perdure.values.address import Address, Job
from perdure.values.errors import EnsureFailed, InvalidInput
from perdure.values.instance import Instance
from perdure.values.limits import Limits


@attrs.frozen
class Recovery:
    """Puts a recovery at the head of the mailbox of every instance that needs one.

    Attributes:
        store: returns the instances with a claim.
        dispatcher: executes the turns.
        jobs: the served definitions. Instances of other jobs are ignored.
        recovers: whether this engine recovers the claims of a row that the store returned.
        limits: the engine's limits.
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
        cache: returns the existing instances.
        runtime: creates the tasks.
        dispatcher: executes the requests.
        declared: the instances.
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
        dispatcher: executes the turns.
        outbox: delivers the messages that other code left.
        jobs: the served definitions.
        codes: the fingerprint of each.
        limits: the engine's limits.
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
        store: the store.
        runtime: the only interface to time.
        limits: the retention settings.
    """

    store: Store
    runtime: Runtime
    limits: Limits

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
            await self.runtime.sleep(0)
