"""A running engine: its dispatcher and its loops over one open store."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any

import attrs

from perdure.engine.alarms import Alarms
from perdure.engine.claims import Perform, perform_directly
from perdure.engine.collect_inputs import collect_inputs
from perdure.engine.concurrency_limit import ConcurrencyLimit, ConcurrencyLimits
from perdure.engine.dispatcher import Dispatcher
from perdure.engine.in_flight import InFlight
from perdure.engine.maintenance import Maintenance
from perdure.engine.outbox import Outbox
from perdure.engine.recovery import Recovery
from perdure.engine.turn import MistakeFound, RunEnded, TurnTaker
from perdure.engine.wake import Wake
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.recovery import left_behind
from perdure.runtime.record import Future, LogRecord, Runtime, SpawnedTask
from perdure.stores.store import Store
from perdure.values.event import JobResumed
from perdure.values.limits import Limits
from perdure.values.message import Consumed
from perdure.values.transition import Purge, Put, Transition


@attrs.define
class RunningEngine:
    """Everything that goes on in this process for one store.

    Attributes:
        store: where instances live.
        runtime: the only door to the world.
        limits: the engine's bounds.
        jobs: the definitions that are served, by kind and name.
        dispatcher: takes requests.
        alarms: fires what is due.
        outbox: delivers messages.
        stopped: done when the engine stopped by itself, with the reason.
    """

    store: Store
    runtime: Runtime
    limits: Limits
    jobs: Mapping[tuple[str, str], AnyDefinition]
    dispatcher: Dispatcher
    turns: TurnTaker
    alarms: Alarms
    outbox: Outbox
    stopped: Future[str]
    _loops: list[SpawnedTask[Any]] = attrs.Factory(list[SpawnedTask[Any]])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self.store!r}>"

    async def start(self) -> None:
        """Recover what was left behind, then begin to fire alarms and to deliver messages.

        Raises:
            StoreError: the store did not answer.
        """
        recovered = await Recovery(self.store, self.dispatcher, self.jobs).run()
        fields = {"store": self.store.name, "epoch": self.store.epoch, "recovered": recovered}
        self.runtime.log(LogRecord("info", "engine started", fields))
        if self.store.lost is not None:
            self.store.lost.add_done_callback(lambda lost: self.fail(lost.result()))
        self._loop(self.alarms.run(), "alarms")
        self._loop(self.outbox.run(), "outbox")
        self._loop(Maintenance(self.store, self.runtime, self.limits).run(), "housekeeping")

    async def stop(self) -> None:
        """Stop gracefully: no more alarms, messages and requests; what runs may end within the drain time.

        After that it is cancelled, its claim is given back, and the next start delivers it again without counting a
        crash. Cancelling this wait cancels the runs at once.
        """
        self.turns.phase = "closing"
        self.dispatcher.close_door()
        self.alarms.close()
        await self.stop_loops()
        timer = self.runtime.call_later(self.limits.shutdown_timeout_ms, self.dispatcher.stop_runs)
        try:
            await self.dispatcher.emptied()
        except self.runtime.cancelled:
            self.dispatcher.stop_runs()
            raise
        finally:
            timer.cancel()
        self.runtime.log(LogRecord("info", "engine stopped", {"store": self.store.name}))

    def in_flight(self) -> InFlight:
        """Tell what the engine has accepted and not finished."""
        return attrs.evolve(self.dispatcher.in_flight(), alarms=self.alarms.under_way, messages=self.outbox.under_way)

    def _loop(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        task = self.runtime.spawn(coroutine, name=name)
        task.add_done_callback(lambda ended: self._loop_ended(name, ended))
        self._loops.append(task)

    def _loop_ended(self, name: str, task: SpawnedTask[Any]) -> None:
        if not task.cancelled():
            self.fail(f"the {name} loop of the engine broke: {task.exception()!r}")

    async def stop_loops(self) -> None:
        """Fire no more alarms, and deliver no more messages. Requests go on."""
        for task in self._loops:
            task.cancel()
        for task in self._loops:
            try:
                await task
            except self.runtime.cancelled:
                if self.runtime.current_task().cancelling():
                    raise
        self._loops.clear()

    def fail(self, reason: str) -> None:
        """Stop taking requests, because going on could do harm."""
        self.runtime.log(LogRecord("error", "engine stopping after fatal error", {"reason": reason}))
        self.turns.phase = "closing"
        self.dispatcher.close_door()
        for task in self._loops:
            task.cancel()
        if not self.stopped.done():
            self.stopped.set_result(reason)

    def committed(self, transition: Transition) -> None:
        """A transition became durable: see what it set in motion."""
        if transition.messages:
            self.outbox.wake.ring()
        if type(transition.inbound) is Consumed:
            self.outbox.consumed(transition.inbound.message_id)
        write = transition.write
        if type(write) is not Put:
            if type(write) is Purge:
                self.alarms.notice(transition.address, None)
            return
        after = write.instance
        self.alarms.notice(transition.address, after.due_ms)
        if after.owner is not None:
            self._recover_if_left(transition)
        if transition.events and any(isinstance(event, JobResumed) for event in transition.events):
            self.outbox.release(transition.address)

    def doubt(self) -> None:
        """A transition may have become durable, and nobody knows: look what it may have set in motion."""
        self.alarms.doubt()
        self.outbox.wake.ring()

    def _recover_if_left(self, transition: Transition) -> None:
        """An instance that was resumed, or had two claims, may carry one that nobody runs: it is delivered again."""
        job = self.jobs.get((transition.address.kind, transition.address.name))
        running = self.dispatcher.running_at(transition.address)
        if job is not None and isinstance(transition.write, Put) and left_behind(transition.write.instance, running):
            self.dispatcher.recover(job, transition.address)


def running_engine(
    store: Store,
    runtime: Runtime,
    services: Any,
    limits: Limits,
    jobs: Mapping[tuple[str, str], AnyDefinition],
    *,
    perform: Perform = perform_directly,
    run_ended: RunEnded | None = None,
    mistake_found: MistakeFound | None = None,
) -> RunningEngine:
    """Put an engine together. It does nothing before ``start``.

    Args:
        store: an open store.
        runtime: the only door to the world.
        services: what the users' programs need.
        limits: the engine's bounds.
        jobs: the definitions that are served, by kind and name.
        perform: performs the effects of runs.
        run_ended: told of every program's end.
        mistake_found: called with each mistake that the debug mode finds; None: the mode is off.
    """
    dispatcher = Dispatcher(runtime, limits, jobs, lambda address: engine.fail(_fence_lost(store, address)))
    own_gates = {
        f"{kind}:{name}": ConcurrencyLimit(runtime, job.plan.concurrency)
        for (kind, name), job in jobs.items()
        if job.plan.concurrency is not None
    }
    turns = TurnTaker(
        store,
        runtime,
        services,
        limits,
        ConcurrencyLimits(runtime, ConcurrencyLimit(runtime, limits.concurrency), own_gates),
        left_claimed=dispatcher.claim_left,
        perform=perform,
        run_ended=run_ended,
        mistake_found=mistake_found,
    )
    dispatcher.turns = turns
    alarms = Alarms(store, runtime, dispatcher, jobs, limits, Wake(runtime))
    outbox = Outbox(store, runtime, dispatcher, jobs, lambda: collect_inputs(runtime, store, limits), Wake(runtime))
    engine = RunningEngine(store, runtime, limits, jobs, dispatcher, turns, alarms, outbox, stopped=runtime.future())
    turns.committed, turns.in_doubt = engine.committed, engine.doubt
    return engine


def _fence_lost(store: Store, address: str) -> str:
    return f"{address} was written by somebody else, although this engine owns {store.name}"
