"""Mailboxes: requests wait here, first in, first out, so that one instance takes one turn at a time."""

from __future__ import annotations

from collections import deque
from typing import Any, Literal, Protocol

import attrs

from perdure.engine.turn_outcome import TurnAnswer
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import Recover, Request, Terminate
from perdure.jobs.step import Execute
from perdure.programs import Exit
from perdure.runtime.record import SpawnedTask
from perdure.values.address import Address


class Reply(Protocol):
    """Takes the answer to a request. A future is one; cancelling it takes a waiting request out."""

    def done(self) -> bool:
        """Whether it was answered, or nobody wants the answer any more."""
        ...

    def set_result(self, result: TurnAnswer, /) -> None:
        """Answer."""
        ...


@attrs.define(eq=False)
class Item:
    """One request in a mailbox.

    Attributes:
        request: what is asked.
        answer: takes the answer.
        ended: the run whose end this item is, when it did not hold the mailbox.
        recovered: whether a run was recovered already for this request's sake.
    """

    request: Request
    answer: Reply
    ended: tuple[Execute, Exit[Any, Any]] | None = None
    recovered: Literal["not_yet", "once"] = "not_yet"


Stop = Literal["timed_out", "interrupted", "released"]
"""Why a run is cancelled: its time is over, somebody ended its instance, or the engine shuts down."""


@attrs.define(eq=False)
class RunInProgress:
    """A program of the user that is being run.

    Attributes:
        by: which task runs it.
        stop: why it is being cancelled, if it is.
    """

    by: Literal["worker", "apart"]
    stop: Stop | None = None


@attrs.define(eq=False)
class Mailbox:
    """What is going on around one instance in this process.

    Attributes:
        address: the instance.
        job: its definition.
        waiting: requests, in order.
        deferred: requests that wait for the end of the run in progress.
        running: the ids of the runs in progress.
        worker: the task that takes turns from here; None while turns are begun by a plain call, or nobody takes any.
        state: whether somebody takes turns from here.
        apart: the task of a run that does not hold the mailbox.
        runs: the programs of the user that are in progress: at most one by the worker, and one apart.
        served: the requests whose turns a task takes at this moment.
    """

    address: Address
    job: AnyDefinition
    waiting: deque[Item] = attrs.Factory(deque[Item])
    deferred: tuple[Item, ...] = ()
    running: tuple[str, ...] = ()
    worker: SpawnedTask[Any] | None = None
    state: Literal["idle", "busy"] = "idle"
    apart: SpawnedTask[Any] | None = None
    runs: tuple[RunInProgress, ...] = ()
    served: list[Item] = attrs.Factory(list[Item])

    @property
    def job_name(self) -> str:
        """The job, printed ``kind:name``."""
        return f"{self.address.kind}:{self.address.name}"

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits and nothing runs, so that the mailbox can be forgotten."""
        return not self.waiting and not self.deferred and not self.running

    @property
    def is_interrupted(self) -> bool:
        """Whether a terminate waits at the head that does not let runs go on."""
        for item in self.waiting:
            match item.request.command:
                case Terminate(when="interrupt") if not item.answer.done():
                    return True
                case Terminate() | Recover():
                    pass
                case _:
                    return False
        return False

    def put(self, item: Item, place: Literal["head", "tail"]) -> None:
        """Let a request wait."""
        if place == "head":
            self.waiting.appendleft(item)
        else:
            self.waiting.append(item)

    def stop(self, run: RunInProgress, why: Stop) -> None:
        """Cancel a run, and say why. The first reason stands; a shutdown cancels a run again that did not end."""
        task = self.worker if run.by == "worker" else self.apart
        if task is not None and (run.stop is None or why == "released"):
            run.stop = run.stop or why
            task.cancel()

    def stop_runs(self, why: Stop) -> None:
        """Cancel every run in progress."""
        for run in self.runs:
            self.stop(run, why)

    def wake_deferred(self) -> None:
        """The run in progress is settled: what waited for it goes first, in order."""
        self.waiting.extendleft(reversed(self.deferred))
        self.deferred = ()
