"""A running engine: its dispatcher and its loops over one open store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs
from returns.result import Result, Success

from perdure._lazy import load_postponed
from perdure.engine.caller_reads import DirectReads, LimitCalls, StatusWaiters
from perdure.engine.commits import Commits
from perdure.engine.dispatcher import Dispatcher
from perdure.engine.loops.alarms import Alarms
from perdure.engine.loops.lane_feeder import LaneFeeder, lane_feeders
from perdure.engine.loops.outbox import Outbox
from perdure.engine.loops.start_queue import StartQueue, start_queues
from perdure.engine.loops.upkeep import (
    Ensuring,
    FillingAttributes,
    FollowingHolds,
    Idleness,
    Maintenance,
    Recovery,
    Resting,
    RestWhenIdle,
    TakingUp,
)
from perdure.engine.loops.waker import Waker, every
from perdure.engine.mailbox.instance_cache import InstanceCache
from perdure.engine.mailbox.instance_cell import InstanceCell
from perdure.engine.reporting import INCIDENTS, HookChecks, LoopReports, Reporting, incident
from perdure.engine.runs.concurrency import (
    ConcurrencyLimit,
    ConcurrencyLimits,
    Holds,
    LaneLimit,
    reserve_of,
    slots_of,
    too_many_runs,
)
from perdure.engine.runs.effects import Perform, limited, perform_directly, traced
from perdure.engine.runs.named_limits import NamedLimits
from perdure.engine.runs.permits import totals_of
from perdure.engine.runs.runner import RunEnded, Runner
from perdure.engine.sharing import (
    ALARM_POLL_MS,
    HEARTBEATS,
    MESSAGE_POLL_MS,
    NOTIFIED_POLL_MS,
    ClaimSweeper,
    Membership,
    RevokedRuns,
    handles_alarm,
    left_work_of,
    membership_of,
    while_leased,
    work_of,
)
from perdure.engine.sinks import OpenSinks
from perdure.jobs.code_fingerprint import code_of
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.ensured import Ensured
from perdure.jobs.recovery import is_delivered_beside_others, left_behind
from perdure.runtime.record import Draws, Future, LogRecord, Runtime, SpawnedTask, Timer
from perdure.runtime.tasks import ended
from perdure.stores.contract import Store
from perdure.stores.shares import StoreMember
from perdure.values.address import Address, Job
from perdure.values.errors import StoreError
from perdure.values.event import Event, JobResumed
from perdure.values.instance import Instance
from perdure.values.limits import Limits
from perdure.values.listings import InFlight
from perdure.values.live_event import EngineStarted, EngineStopped, LeaseLost
from perdure.values.message import Consumed
from perdure.values.transition import Purge, Put, Transition

if TYPE_CHECKING:
    from perdure.engine.streams import StreamHub

_NOTABLE: Final = INCIDENTS | {JobResumed}

SUSPICION_MS = 60_000
"""How long all code of jobs is claimed before it runs, after a predecessor that died."""

LEAVE_AFTER_MS = 5_000
"""How long the engine waits for runs that it cancelled before it stops without them."""


@attrs.define(eq=False)
class RunningEngine:
    """An engine on one store in this process.

    Attributes:
        store: stores the instances.
        runtime: the only interface to the outside.
        limits: the engine's limits.
        jobs: the served definitions, by kind and name.
        dispatcher: accepts requests.
        runner: runs the programs of turns.
        alarms: fires due alarms.
        outbox: delivers messages.
        cache: keeps the instances of this process.
        ensuring: creates the declared instances.
        waits: callers that wait for the status of an instance.
        sinks: tells the open sinks.
        stopped: done when the engine stopped itself, with the reason.
        ended: done when the engine has stopped, for whatever reason; callers wait for it.
        membership: this engine among those of a shared store; None if it owns the store.
        feeders: fire the queued instances of the jobs that have lanes.
        queues: begin the queued starts of the jobs that may have some.
        left_out: the app's jobs that this engine does not serve. Set before ``start``.
        left_behind: the instances whose runs ignored their cancellation when the engine stopped.
        streams: takes and shows the chunks of runs; None if no job declares a stream.
        committed_ms: when the last transition became durable, on the monotonic clock.
    """

    store: Store
    runtime: Runtime
    limits: Limits
    jobs: Mapping[tuple[str, str], AnyDefinition]
    dispatcher: Dispatcher
    runner: Runner
    alarms: Alarms
    outbox: Outbox
    ensuring: Ensuring
    waits: StatusWaiters
    cache: InstanceCache
    sinks: OpenSinks
    stopped: Future[str]
    membership: Membership | None = None
    feeders: Mapping[Job, LaneFeeder] = attrs.Factory(dict["Job", LaneFeeder])
    queues: Mapping[Job, StartQueue] = attrs.Factory(dict["Job", StartQueue])
    left_out: tuple[Job, ...] = ()
    left_behind: tuple[Address, ...] = ()
    streams: StreamHub | None = None
    committed_ms: float = 0.0
    ended: Future[EngineStopped] = attrs.field(init=False)
    _feeding: Mapping[Job, LaneFeeder | StartQueue] = attrs.field(init=False)  # those that must know of each change
    _told: Literal["nothing", "start", "stop"] = "nothing"
    _loops: list[SpawnedTask[Any]] = attrs.Factory(list[SpawnedTask[Any]])
    _limits_loop: SpawnedTask[Any] | None = None
    _leaving: Timer | None = None
    _suspicion: Timer | None = None
    _watch: Timer | None = None
    _stopping: Timer | None = None
    _sweep: ClaimSweeper | None = None

    def __attrs_post_init__(self) -> None:
        self.ended = self.runtime.future()
        limited = {job: queue for job, queue in self.queues.items() if queue.job.most_under_way is not None}
        self._feeding = {**self.feeders, **limited}
        self.outbox.unserved.elsewhere = lambda: self.elsewhere
        self.named.start = self._serve_limits

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self.store!r}>"

    @property
    def named(self) -> NamedLimits:
        """The limits with a name."""
        return self.runner.gates.named

    @property
    def _begin_queued(self) -> tuple[LaneFeeder | StartQueue, ...]:
        return (*self.feeders.values(), *self.queues.values())

    @property
    def limit_calls(self) -> LimitCalls:
        """Reads and changes the limits with a name for callers."""
        return LimitCalls(self.store, self.runtime, self.named)

    @property
    def reads(self) -> DirectReads:
        """The reads of callers beside turns."""
        return self.waits.reads

    @property
    def elsewhere(self) -> frozenset[Job]:
        """The jobs that other engines on the shared store serve."""
        return frozenset((kind, name) for kind, name, _ in self.runner.others.codes)

    @property
    def served_nowhere(self) -> tuple[Job, ...]:
        """The app's jobs that neither this engine nor another one on the shared store serves."""
        elsewhere = self.elsewhere
        return tuple(job for job in self.left_out if job not in elsewhere)

    async def start(self) -> None:
        """Recover abandoned runs, create the declared instances, then start to fire alarms and to deliver messages.

        On a shared store the engine takes a share of that work when it is able to do it, and recovers runs then.

        Raises:
            StoreError: the store failed.
            EnsureFailed: a declared instance could not be created.
        """
        if self.limits.blocked_loop_ms > 0:
            reports = LoopReports(self.runtime, self.sinks)
            self._watch = self.runtime.watch_loop(self.limits.blocked_loop_ms, reports.began, reports.ended)
        if self.store.previous_exit == "died" and self.membership is None:
            self.runner.code = "suspect"
            self._suspicion = self.runtime.call_later(SUSPICION_MS, self._trust)
        # Before the first commit: a store keeps no attributes that it does not know.
        filling = FillingAttributes(
            *(self.store, self.runtime, self.jobs, self._is_own),
            others=self.membership is not None,
        )
        attributes = await filling.begin()
        if self.membership is not None:
            await self._join(self.membership)
        following = FollowingHolds(self.runner.holds, Waker(self.runtime))
        # Before the first read: a change behind it must not be missed.
        self.store.watch_holds(following.wake.notify)
        # Before anything runs: a held job must not begin a run.
        await self.runner.holds.read()
        for feeder in self.feeders.values():
            await feeder.start()
        # On a shared store the sweeper recovers them: their owner may be alive.
        recovered = 0 if self.membership is not None else await self._recovery(self.store).claims()
        self._tell_start(recovered)
        if self.store.lost is not None:
            end = self.fail if self.membership is None else self.lost
            self.store.lost.add_done_callback(lambda lost: end(lost.result()))
        self.store.watch_ownership(self.ownership_is)
        await self.ensuring.run()
        self._loop(self.alarms.run(), "alarms")
        await self._serve_queues()
        self._loop(self.outbox.run(), "outbox")
        # Notifications may be lost: messages are looked for anyway, only less often.
        poll_ms = NOTIFIED_POLL_MS if self.store.listen(self.outbox.wake.notify) else MESSAGE_POLL_MS
        codes = {job: code_of(definition, self.store.reads) for job, definition in self.jobs.items()}
        taking_up = TakingUp(
            *(self.store, self.runtime, self.dispatcher, self.outbox, self.jobs, codes, self.limits),
            others=self.membership is not None,
        )
        self._loop(taking_up.run(), "taking up")
        if attributes == "work":
            self._loop(filling.run(), "attributes")
        self._loop(Maintenance(self.store, self.runtime, self.limits, self.jobs).run(), "maintenance")
        if self.membership is not None and self._sweep is not None:
            self._loop(every(self.runtime, ALARM_POLL_MS, self._look_at_alarms), "alarm poll")
            self._loop(every(self.runtime, poll_ms, self.outbox.wake.notify), "message poll")
            self._loop(following.run(), "holds of other engines")
            beat_ms = self.membership.sharing.lease_ms / HEARTBEATS
            reads, busy = self.dispatcher.turns.reads, lambda: self.dispatcher.in_flight().instances
            ended = RevokedRuns(reads, self.cache, busy)
            self._loop(every(self.runtime, beat_ms, ended.look), "look for runs that ended elsewhere")
            self._loop(self._sweep.run(), "sweep")
            self._loop(self._sweep.run_left(), "sweep of all claims")
            # Last: from now on the other engines leave this share to it, so all loops must run.
            await self.membership.serve()

    def _tell_start(self, recovered: int) -> None:
        store, epoch = self.store.name, self.store.epoch
        fields = {"store": store, "epoch": epoch, "recovered": recovered}
        self.runtime.log(LogRecord("info", "engine started", fields))
        self._told = "start"
        if self.sinks.told:
            now_ms = self.runtime.now_ms()
            self.sinks.tell(EngineStarted(at_ms=now_ms, store=store, epoch=epoch, recovered=recovered))

    async def _serve_queues(self) -> None:
        for begins in self._begin_queued:
            if await begins.is_needed():
                self._loop(begins.run(), f"queue of {':'.join(begins.name)}")

    def _recovery(self, store: Store, **judges: Any) -> Recovery:
        return Recovery(store, self.dispatcher, self.jobs, limits=self.limits, **judges)

    def _is_own(self, address: Address) -> bool:
        """Return whether this engine does the work on an address: always, or while it is in its share."""
        return self.membership is None or address in self.membership.share

    async def _join(self, membership: Membership) -> None:
        """Join the engines of a shared store, without a share of the work."""
        self.outbox.is_own = self._is_own
        own = self._recovery(work_of(self.store, membership))
        left = self._recovery(left_work_of(self.store, membership), recovers=is_delivered_beside_others)
        self._sweep = ClaimSweeper(self.runtime, membership, self.runner.holds, own, left)
        membership.changed, membership.expired, membership.lost = self.others_changed, self._lease_lost, self.lost
        await membership.join()
        self.runner.others = membership.others

    def _look_at_alarms(self) -> None:
        """Read again what other engines may have written: alarms, and the instances that callers wait for."""
        self.alarms.doubt()
        for feeder in self._feeding.values():
            feeder.doubt()  # other engines queue instances too
        self.cache.others_wrote()
        if self.waits.count:
            self.waits.doubt()

    def others_changed(self) -> None:
        """React to an engine that joined or ended: the share of this one has changed."""
        if self.membership is not None:
            self.runner.others = self.membership.others
        for feeder in self.feeders.values():
            feeder.queue.reorder()
        self.alarms.doubt()
        for queue in self.queues.values():
            queue.wake.notify()
        self.outbox.wake.notify()
        if self._sweep is not None:
            self._sweep.others_changed()

    def lost(self, reason: str) -> None:
        """Stop, because other engines take over the work of this one: its runs must not continue."""
        members = None if self.membership is None or self.stopped.done() else self.membership.members
        for member in () if members is None else members.members:
            if member.epoch == self.store.epoch:
                self._lease_lost(member)
        self.fail(f"epoch {self.store.epoch} of {self.store.name}: {reason}")
        self.stop_runs()

    def _lease_lost(self, member: StoreMember) -> None:
        if self.sinks.told:
            now_ms, store = self.runtime.now_ms(), self.store.name
            self.sinks.tell(LeaseLost(at_ms=now_ms, store=store, epoch=member.epoch, label=member.label))

    def ownership_is(self, state: Literal["sure", "in_doubt"]) -> None:
        """Rely on rows in memory only while no other engine can have written the store.

        When it is certain again, the rows are read again: after a failover they may be older than those in memory.
        """
        self.cache.may_use_rows = state == "sure"
        self.cache.doubt_all()
        if state == "sure":
            self.alarms.doubt()
            for feeder in self._feeding.values():
                feeder.doubt()
            self.outbox.wake.notify()

    def _trust(self) -> None:
        """Claim events late again, because no code of a job has killed this process for a while."""
        self.runner.code = "trusted"

    def begin_stop(self) -> Timer:
        """Begin to stop, without waiting: accept no requests, start no runs, and cancel runs after the timeout.

        `stop` does the rest. A server calls this first, so that requests in progress are answered meanwhile.

        Returns:
            The timer of the shutdown timeout.
        """
        # Once: a server begins the stop, and `stop` calls this again.
        if self._stopping is None:
            # First: a run that ends during the following steps must not begin another one.
            self.runner.phase = "closing"
            self.dispatcher.close_intake()
            self.waits.close()
            if self.streams is not None:
                self.streams.close()
            self.alarms.close()
            self.named.close()
            for feeder in self._begin_queued:
                feeder.close()
            self.outbox.close()
            if self.membership is not None:
                self.membership.retire()
            self._stopping = self.runtime.call_later(self.limits.shutdown_timeout_ms, self.stop_runs)
        return self._stopping

    async def stop(self) -> None:
        """Stop gracefully: accept no requests, fire no alarms, and let runs finish within the shutdown timeout.

        Then the engine cancels the runs and releases their claims; the next start delivers them again without counting
        a crash. Cancelling this wait cancels the runs at once. Runs that ignore their cancellation are abandoned after
        five more seconds: `left_behind` names them, and the next start recovers their claims. Reads that the store has
        not answered by then fail with `EngineClosed`.
        """
        timer = self.begin_stop()
        interrupted: BaseException | None = None
        # In this order: loops post turns, turns write messages, and both read.
        # Each is over before the next one is awaited.
        for wait in (self.stop_loops, self.dispatcher.busy.emptied, self.outbox.written, self.reads.answered):
            interrupted = await self._see_through(wait) or interrupted
        timer.cancel()
        # After the runs: their calls wait for limits until they end.
        self._end_limits()
        self.cache.close()
        self.reads.leave()
        for other in (self._suspicion, self._leaving, self._watch):
            if other is not None:
                other.cancel()
        if self.membership is not None:
            self.membership.end()
        fields = {"store": self.store.name}
        if self.left_behind:
            runs = [str(address) for address in self.left_behind]
            self.runtime.log(LogRecord("error", "engine stopped and left runs behind", fields | {"runs": runs}))
        else:
            self.runtime.log(LogRecord("info", "engine stopped", fields))
        self._tell_stopped("")
        if interrupted is not None:
            raise interrupted

    async def _see_through(self, wait: Callable[[], Awaitable[None]]) -> BaseException | None:
        """Wait to the end. If this task is cancelled, cancel the runs, and return the cancellation after the wait."""
        interrupted: BaseException | None = None
        while True:
            try:
                await wait()
            except self.runtime.cancelled as cancellation:
                interrupted = cancellation
                self.stop_runs()
            else:
                return interrupted

    def stop_runs(self) -> None:
        """Cancel every run in progress and release its claim; after five seconds, abandon those that ignore it."""
        self.runner.stops_runs = True
        self.dispatcher.busy.stop_runs()
        # The first one counts: a second interrupt must not extend the time.
        if self._leaving is None:
            self._leaving = self.runtime.call_later(LEAVE_AFTER_MS, self._leave_behind)

    def _leave_behind(self) -> None:
        self.left_behind = self.dispatcher.busy.leave()
        self.outbox.abandon()
        self.reads.leave()

    def in_flight(self) -> InFlight:
        """Return the accepted and unfinished work."""
        return attrs.evolve(
            self.dispatcher.in_flight(),
            alarms=self.alarms.under_way + sum(one.under_way for one in self._feeding.values()),
            messages=self.outbox.under_way,
        )

    async def until_idle(self, rest: RestWhenIdle, requests_ms: Callable[[], Sequence[float]]) -> Resting:
        """Wait until the engine may rest.

        Args:
            rest: when it may.
            requests_ms: returns when each server had its last request, on the monotonic clock.
        """
        maintenance, began_ms = (
            Maintenance(self.store, self.runtime, self.limits, self.jobs),
            self.runtime.monotonic_ms(),
        )
        busy_ms = lambda: max(began_ms, self.committed_ms, *requests_ms())  # noqa: E731 - of one line
        return await Idleness(maintenance, self.runner.holds, self.in_flight, busy_ms, rest).found()

    def limits_in_use(self) -> Mapping[str, tuple[int, int]]:
        """Return the permits in use of each limit with a name, and how many runs, calls and items wait."""
        found = totals_of(self.named.use())
        return {name: found.get(name, (0, 0)) for name in self.named.declared}

    def _loop(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        task = self.runtime.spawn(coroutine, name=name)
        task.add_done_callback(lambda over: self._loop_ended(name, over))
        self._loops.append(task)

    def _serve_limits(self) -> None:
        """Start the loop of the named limits. It ends after all others: calls of runs wait for limits until then."""
        self._limits_loop = self.runtime.spawn(self.named.run(), name="limits")
        self._limits_loop.add_done_callback(lambda over: self._loop_ended("limits", over))

    def _end_limits(self) -> None:
        if self._limits_loop is not None:
            self._limits_loop.cancel()

    def _loop_ended(self, name: str, task: SpawnedTask[Any]) -> None:
        # Loops end only by their cancellation: any other end is a defect, and the engine would serve without that loop.
        if not task.cancelled():
            self.fail(f"the {name} loop of the engine failed: {task.exception()!r}")

    async def stop_loops(self) -> None:
        """Fire no more alarms and deliver no more messages. Requests are still served."""
        tasks = [*self._loops, *self.ensuring.tasks]
        for task in tasks:
            task.cancel()
        for task in tasks:
            await ended(task, self.runtime)
        self._loops.clear()

    def fail(self, reason: str) -> None:
        """Accept no more requests, because to continue could do harm."""
        # The first reason stays.
        if self.stopped.done():
            return
        self.runtime.log(LogRecord("error", "engine stopping after fatal error", {"reason": reason}))
        self.runner.phase = "closing"
        self.dispatcher.close_intake()
        self.cache.close()
        self.waits.close()
        if self.streams is not None:
            self.streams.close()
        for task in self._loops:
            task.cancel()
        self._end_limits()
        if self.membership is not None:
            self.membership.end()
        self._tell_stopped(reason)
        # Last: the caller that waits for it may close the store.
        self.stopped.set_result(reason)

    def _tell_stopped(self, reason: str) -> None:
        """Tell sinks of the end, once: at the fatal error, or when the engine has stopped."""
        if self.ended.done():
            return
        end = EngineStopped(at_ms=self.runtime.now_ms(), store=self.store.name, reason=reason)
        self.ended.set_result(end)
        if self._told == "start":
            self._told = "stop"
            if self.sinks.told:
                self.sinks.tell(end)

    def process_ends(self, raised: BaseException) -> None:
        """Stop, because the code of a job raised an exception that ends the process."""
        self.fail(f"a job raised {raised!r}, which ends the process")

    def committed(self, transition: Transition, turns: Sequence[Transition]) -> None:
        """React to a durable transition: log failures, tell sinks and callers, wake the outbox, queue its alarm.

        Args:
            transition: the transition, as it is stored.
            turns: the decisions that it is made of, with the events that are logged.
        """
        self.committed_ms = self.runtime.monotonic_ms()
        # Without a caller that waits, no status is computed for each commit.
        waits = self.waits if self.waits.count else None
        if self.streams is not None:
            self.streams.committed(transition)
        for turn in turns:
            if turn.events:
                self._report(turn)
            if waits is not None:
                waits.committed(turn)
        if transition.messages:
            self.outbox.wake.notify()
        if transition.inbound is not None and type(transition.inbound) is Consumed:
            for message_id in transition.message_ids:
                self.outbox.consumed(message_id)
        write = transition.write
        if type(write) is not Put:
            self._purged(transition)
        # Else its alarm, lane and claims are as the commit before has left them.
        elif write.changes not in {"state", "event_end"}:
            self._row_written(transition, write.instance)

    def _row_written(self, transition: Transition, after: Instance) -> None:
        membership = self.membership
        if membership is None or handles_alarm(membership, transition.address, after.due_ms, self.runtime.now_ms()):
            self.alarms.notice(transition.address, after.due_ms)
        if self._feeding:
            self._feed(transition.address, after)
        if after.claim is not None or after.event_claim is not None:
            self._recover_if_left(transition)

    def _purged(self, transition: Transition) -> None:
        if type(transition.write) is Purge:
            self.alarms.notice(transition.address, None)
            self._feed(transition.address, None)

    def _feed(self, address: Address, after: Instance | None) -> None:
        feeder = self._feeding.get((address.kind, address.name)) if self._feeding else None
        if feeder is not None:
            feeder.notice(address, after)

    def released(self) -> None:
        """Look for the alarms and the queued instances of a job that is held no longer."""
        self.alarms.doubt()
        for feeder in self._begin_queued:
            feeder.wake.notify()

    async def oldest_queued(self, job: Job) -> Result[datetime | None, StoreError]:
        """Return when the longest waiting queued instance of a job was created; see `LaneFeeder.oldest`."""
        feeder = self._feeding.get(job)
        return Success(None) if feeder is None else await feeder.oldest()

    def ended_runs(self, job: Job) -> int | None:
        """Return the number of runs of a job that ended since the start; None for a job without lanes."""
        feeder = self.feeders.get(job)
        return None if feeder is None else feeder.gate.ended

    def _report(self, transition: Transition) -> None:
        notable = [event for event in transition.events if type(event) in _NOTABLE]
        if notable:
            if any(type(event) is JobResumed for event in notable):
                self.outbox.release(transition.address)
            record = incident(transition)
            if record is not None:
                self.runtime.log(record)
        if self.sinks.told:
            self.outbox.reporting.committed(transition)

    def redriven(self, events: Sequence[Event]) -> None:
        """React to a dead letter that is a message again: tell sinks, deliver it."""
        if self.sinks.told:
            for event in events:
                self.sinks.tell(event)
        self.outbox.wake.notify()

    def doubt(self) -> None:
        """Read alarms and messages again, because a transition with an unknown outcome may be durable."""
        self.alarms.doubt()
        self.cache.others_wrote()
        for feeder in self._feeding.values():
            feeder.doubt()
        self.waits.doubt()
        self.outbox.wake.notify()

    def _recover_if_left(self, transition: Transition) -> None:
        """Recover an instance that was resumed, or had two claims, if no run holds its claim."""
        running, write = self.cache.running(transition.address), transition.write
        if type(write) is not Put:
            return
        after = write.instance
        if after.event_claim is None and after.claim is not None and after.claim.run_id in running:
            return  # a run in this process holds the only claim
        job = self.jobs.get((transition.address.kind, transition.address.name))
        if job is not None and left_behind(write.instance, running, self.runner.others):
            self.dispatcher.recover(job, transition.address)


def running_engine(
    store: Store,
    runtime: Runtime,
    services: Any,
    limits: Limits,
    jobs: Mapping[tuple[str, str], AnyDefinition],
    *,
    ensured: Sequence[Ensured] = (),
    perform: Perform = perform_directly,
    run_ended: RunEnded | None = None,
    hook_checks: HookChecks | None = None,
    draws: Draws | None = None,
    sinks: OpenSinks | None = None,
    cache: InstanceCache | None = None,
) -> RunningEngine:
    """Assemble an engine. It does nothing before ``start``.

    Args:
        store: an open store.
        runtime: the only interface to the outside.
        services: the services of user programs.
        limits: the engine's limits.
        jobs: the served definitions, by kind and name.
        ensured: the declared instances.
        perform: performs the effects of runs.
        run_ended: called with the end of every program.
        hook_checks: inspect a sample of the runs; None without the debug mode.
        draws: draw random numbers and ids for decisions; None: the runtime does.
        sinks: tells the open sinks; None for none.
        cache: keeps the instances of the store in memory; by default a new one.
    """
    load_postponed()
    membership, runtime = membership_of(store, runtime, jobs)
    gates = _gates(runtime, limits, jobs, _named_limits(store, runtime, jobs, membership))
    sinks, cache = sinks or OpenSinks(runtime), cache or InstanceCache(store, sizes=runtime.sizes)
    tracing, reporting, reads = sinks.tracing, Reporting(runtime, sinks), DirectReads(cache, runtime)
    streams, perform = _streams(store, runtime, reads, jobs, limits, perform)
    work, perform = work_of(store, membership), limited(while_leased(perform, membership), gates.named, runtime)
    lost: Callable[[str], None] = lambda address: engine.fail(_fence_lost(store, address))  # noqa: E731 - of one line
    dispatcher = Dispatcher(runtime, limits, jobs, lost, reporting, cache)
    commits, holds = Commits(store, runtime, limits, reporting, cache), Holds(store, runtime)
    runner = Runner(
        *(store, runtime, services, limits, gates, commits, cache, reporting, holds),
        left_claimed=partial(_claim_left, dispatcher),
        perform=perform if tracing is None else traced(perform, tracing, jobs, runtime),
        run_ended=run_ended,
        hook_checks=hook_checks,
        tracing=tracing,
        draws=draws,
    )
    alarms = Alarms(work, runtime, dispatcher.with_runner(runner), jobs, holds, limits, cache, Waker(runtime))
    outbox = Outbox(work, runtime, dispatcher, jobs, limits, Waker(runtime), reporting)
    engine = RunningEngine(
        store,
        runtime,
        limits,
        jobs,
        dispatcher,
        runner,
        alarms,
        outbox,
        Ensuring(cache, runtime, dispatcher, ensured),
        StatusWaiters(store, reads, runtime, limits.waits),
        *(cache, sinks),
        stopped=runtime.future(),
        membership=membership,
        feeders=lane_feeders(dispatcher, jobs, cache, holds, None if membership is None else membership.lane_delay_ms),
        queues=start_queues(dispatcher, jobs, store, holds),
        streams=streams,
    )
    # Set afterwards: the engine is made of these parts, and they call it.
    commits.committed, commits.in_doubt, holds.released = engine.committed, engine.doubt, engine.released
    runner.process_ends = outbox.process_ends = engine.process_ends
    return engine


def _streams(
    store: Store,
    runtime: Runtime,
    reads: DirectReads,
    jobs: Mapping[Job, AnyDefinition],
    limits: Limits,
    below: Perform,
) -> tuple[StreamHub | None, Perform]:
    """Return an engine's streams, and how effects are performed. Nothing is loaded if no job has one."""
    if not any(job.plan.streams or job.plan.heartbeats for job in jobs.values()):
        return None, below
    from perdure.engine.streams import StreamHub  # noqa: PLC0415 - as above

    hub = StreamHub(store, runtime, reads, jobs, limits.waits, sharing=store.sharing is not None)
    return hub, hub.performing(below)


def _claim_left(dispatcher: Dispatcher, cell: InstanceCell) -> None:
    dispatcher.turns.runner.gates.doubt_claim(cell.job_name, cell.address)
    dispatcher.claim_left(cell)


def _gates(
    runtime: Runtime, limits: Limits, jobs: Mapping[tuple[str, str], AnyDefinition], named: NamedLimits
) -> ConcurrencyLimits:
    own = {
        f"{kind}:{name}": ConcurrencyLimit(runtime, job.plan.runs)
        for (kind, name), job in jobs.items()
        if job.plan.runs is not None and job.lanes is None
    }
    workers = {
        f"{kind}:{name}": (job.plan.runs or limits.concurrency, job, job.lanes)
        for (kind, name), job in jobs.items()
        if job.lanes is not None
    }
    lanes = {
        name: LaneLimit(runtime, min(wanted, slots_of(limits.concurrency, len(jobs), job)), limits_of_lanes.lane_slots)
        for name, (wanted, job, limits_of_lanes) in workers.items()
    }
    for found in too_many_runs(limits, jobs):
        fields = {"job": found.job, "wanted": found.wanted, "slots": found.slots, "concurrency": found.concurrency}
        fix = {"fix": "set Limits.concurrency higher, or the job's workers or runs lower"}
        runtime.log(LogRecord("warning", "job may have more runs than the engine has slots for it", fields | fix))
    reserve = reserve_of(limits.concurrency, len(jobs))
    engine = ConcurrencyLimit(runtime, limits.concurrency, jobs=len(jobs), reserve=reserve)
    return ConcurrencyLimits(runtime, engine, named, own, lanes)


def _named_limits(
    store: Store, runtime: Runtime, jobs: Mapping[Job, AnyDefinition], membership: Membership | None
) -> NamedLimits:
    """Return the named limits of an engine; two jobs may not name different limits of one name."""
    uses = {":".join(job): definition.plan.limits for job, definition in jobs.items() if definition.plan.limits}
    if membership is None:
        return NamedLimits(store=store, runtime=runtime, wake=Waker(runtime), jobs=uses)
    lease_ms = membership.sharing.lease_ms
    return NamedLimits(
        store=store,
        runtime=runtime,
        wake=Waker(runtime),
        jobs=uses,
        others=lambda: membership.others,
        lease_ms=lease_ms,
    )


def _fence_lost(store: Store, address: str) -> str:
    return f"another writer changed {address}, although this engine owns {store.name}"
