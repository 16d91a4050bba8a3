"""One instance in memory: its row, its queue, and its runs in progress."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs
from returns.result import Failure

from perdure.engine.item import Item, RunInProgress, Stop
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import Recover, Terminate
from perdure.jobs.step import Execute
from perdure.runtime.record import SpawnedTask
from perdure.values.address import Address
from perdure.values.errors import EngineClosed, OutcomeUnknown
from perdure.values.instance import Instance
from perdure.values.transition import KeepInstance, Loaded, Put, Transition
from perdure.values.turn_inputs import Decoded

if TYPE_CHECKING:
    from perdure.engine.flight import Flight

NOTHING_WAITS: Final[deque[Item]] = deque(maxlen=0)
"""The queue of an instance without one, for which an idle instance needs no memory."""

OVERHEAD_BYTES: Final = 1_500
"""An instance without its texts."""

DECODED_FACTOR: Final = 2
"""A decoded state takes about so many times the size of its JSON."""


@attrs.define(eq=False)
class Resident:
    """One instance in this process. It executes one turn at a time.

    Attributes:
        address: the instance.
        job: its definition.
        loaded: its committed row, or that there is none; None: it must be read.
        decoded: the state of that row, if the engine keeps it decoded.
        drafted: the state that the turn in progress has set.
        weight: the size of both in bytes, as the bound counts it.
        use: whether a caller asked something of it again since the bound last met it, or before, or never.
        flight: the turns that are decided and not durable.
        waiting: requests, in order.
        deferred: requests that wait for the end of the run in progress.
        running: the ids of the runs in progress.
        worker: the task that executes turns; None while turns run synchronously or there are none.
        state: whether turns are being executed.
        apart: the task of a run beside the queue.
        runs: the user programs in progress: at most one by the worker and one apart.
        served: the requests whose turns a task executes now.
        undecided: the request whose turn waits for the row, or for the end of the step; nothing of it is decided.
    """

    address: Address
    job: AnyDefinition
    loaded: Loaded | None = None
    decoded: Decoded | None = None
    drafted: Decoded | None = None
    weight: int = 0
    use: Literal["again", "once", "never"] = "never"
    flight: Flight | None = None
    waiting: deque[Item] = NOTHING_WAITS
    deferred: tuple[Item, ...] = ()
    running: tuple[str, ...] = ()
    worker: SpawnedTask[Any] | None = None
    state: Literal["idle", "busy"] = "idle"
    apart: SpawnedTask[Any] | None = None
    runs: tuple[RunInProgress, ...] = ()
    served: tuple[Item, ...] = ()
    undecided: Item | None = None

    @property
    def job_name(self) -> str:
        """The job, printed ``kind:name``."""
        return f"{self.address.kind}:{self.address.name}"

    @property
    def row(self) -> Instance | None:
        """The committed row; None if there is none, or it must be read."""
        return None if self.loaded is None else self.loaded.instance

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits, nothing runs, and nothing is on its way to the store."""
        return not (self.waiting or self.deferred or self.running or self.apart) and self.flight is None

    @property
    def begun(self) -> tuple[Item, ...]:
        """The requests that may have changed something, and have no answer."""
        flown = () if self.flight is None else (item for item, _ in self.flight.steps)
        return (*self.served, *flown, *(item for item in self.waiting if item.ended is not None))

    @property
    def is_interrupted(self) -> bool:
        """Whether an interrupting terminate waits at the head."""
        for item in self.waiting:
            match item.request.command:
                case Terminate(when="interrupt") if not item.answer.done():
                    return True
                case Terminate() | Recover():
                    pass
                case _:
                    return False
        return False

    def decoded_of(self, transition: Transition, before: Decoded | None) -> Decoded | None:
        """Return the decoded state of the row that a transition writes, if a turn has set it or left it as it was.

        Args:
            transition: the transition.
            before: the decoded state of the row before, if that is not the committed one.
        """
        drafted, self.drafted = self.drafted, None
        if type(transition.write) is Put:
            state = transition.write.instance.state
            for decoded in (drafted, before, self.decoded):
                if decoded is not None and decoded.text is state:
                    return decoded
        elif type(transition.write) is KeepInstance:
            return before or self.decoded
        return None

    # ------------------------------------------------------------ the queue
    def put(self, item: Item, place: Literal["head", "tail"]) -> None:
        """Queue a request."""
        if self.waiting is NOTHING_WAITS:
            self.waiting = deque()
        if place == "head":
            self.waiting.appendleft(item)
        else:
            self.waiting.append(item)

    def wake_deferred(self) -> None:
        """Queue the deferred requests first, in order, because the run in progress is settled."""
        self.put_first(self.deferred)
        self.deferred = ()

    def put_first(self, items: Sequence[Item]) -> None:
        """Queue requests before the others, in order."""
        for item in reversed(items):
            self.put(item, "head")

    def queue_undecided(self) -> None:
        """Queue the event that waits for the end of the step, because earlier ones are decided again first."""
        if self.undecided is not None:
            self.put(self.undecided, "head")
            self.undecided = None

    # ------------------------------------------------------------ runs
    def forget(self, run_id: str) -> None:
        """Note that this process no longer runs a claim."""
        if self.running == (run_id,):
            self.running = ()
        elif self.running:
            self.running = tuple(running for running in self.running if running != run_id)

    def begin_serving(self, item: Item) -> None:
        """Note that a task executes the turn of a request."""
        self.served = (*self.served, item)

    def end_serving(self, item: Item) -> None:
        """Note that the task has executed it."""
        if len(self.served) == 1 and self.served[0] is item:
            self.served = ()
        else:
            self.served = tuple(other for other in self.served if other is not item)

    def stop(self, run: RunInProgress, why: Stop) -> None:
        """Cancel a run and record the reason. The first reason is kept; a shutdown cancels a run again."""
        task = self.worker if run.by == "worker" else self.apart
        if task is not None and (run.stop is None or why == "released"):
            run.stop = run.stop or why
            task.cancel()

    def interrupt(self, run: RunInProgress, execute: Execute, row: Instance) -> None:
        """Cancel a run in progress, if a request in the row says so. A run that is stopped already stays as it is."""
        if run.stop is None and self.job.interrupts(execute, row):
            self.stop(run, "cancelled")

    def interrupt_by(self, items: Sequence[Item], row: Instance) -> None:
        """Cancel the runs in progress that requests interrupt, which are stored in the row now."""
        if any(type(item.request.command) in self.job.interrupting for item in items):
            for run in self.runs:
                if (execute := run.claimed()) is not None:
                    self.interrupt(run, execute, row)

    def close_door(self) -> None:
        """Answer the requests that wait, because the engine stops."""
        for item in (*self.waiting, *self.deferred):
            if item.ended is None:
                item.reply(Failure(EngineClosed()))

    def leave(self) -> None:
        """Answer all requests, because the engine stops although something of them has not ended."""
        if self.undecided is not None:
            self.undecided.reply(Failure(EngineClosed()))
            self.undecided = None
        for item in self.begun:
            item.reply(Failure(OutcomeUnknown("the engine stopped, and the run did not end")))
        for item in (*self.waiting, *self.deferred):
            item.reply(Failure(EngineClosed()))

    def stop_runs(self, why: Stop) -> None:
        """Cancel every run in progress."""
        for run in self.runs:
            self.stop(run, why)
