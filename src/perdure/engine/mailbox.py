"""Mailboxes: first-in-first-out queues, so that an instance executes one turn at a time."""

from __future__ import annotations

from collections import deque
from typing import Any, Literal, Protocol

import attrs

from perdure.engine.request_report import RequestReport
from perdure.engine.tracing import TurnSpan
from perdure.engine.turn_ended import turn_ended
from perdure.engine.turn_outcome import TurnAnswer
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import Recover, Request, Terminate
from perdure.jobs.step import Execute
from perdure.programs import Exit
from perdure.runtime.record import SpawnedTask
from perdure.values.address import Address


class Reply(Protocol):
    """Receives the result of a request. A future is one; cancelling it removes a waiting request."""

    def done(self) -> bool:
        """Whether it has a result, or the caller cancelled the request."""
        ...

    def set_result(self, result: TurnAnswer, /) -> None:
        """Take the result."""
        ...


@attrs.define(eq=False)
class Item:
    """One request in a mailbox.

    Attributes:
        request: the request.
        answer: receives the result.
        ended: the run whose end this item is, if it ran beside the mailbox.
        recovered: whether an abandoned run was already recovered for this request.
        span: traces its turn, from the moment that the instance is loaded; None if it is not traced.
        report: reports the end of the request to sinks; None if none listens.
    """

    request: Request
    answer: Reply
    ended: tuple[Execute, Exit[Any, Any]] | None = None
    recovered: Literal["not_yet", "once"] = "not_yet"
    span: TurnSpan | None = None
    report: RequestReport | None = None

    def reply(self, result: TurnAnswer) -> None:
        """Answer the request at the end of its turn, unless its caller has cancelled it or has its answer."""
        self.reply_early(result)
        if self.span is not None:
            self.end_span(result)

    def reply_early(self, result: TurnAnswer) -> None:
        """Answer the request before its turn ends."""
        if not self.answer.done():
            self.answer.set_result(result)
            if self.report is not None:
                self.report.ended(result)
        elif self.report is not None:
            self.report.ended("cancelled")

    def end_span(self, result: TurnAnswer | Literal["cancelled"]) -> None:
        """End the trace of the turn, if it has one."""
        if self.span is not None:
            self.span.end(turn_ended(result))
            self.span = None


Stop = Literal["timed_out", "interrupted", "released"]
"""Why a run is cancelled: it timed out, a terminate interrupts it, or the engine shuts down."""


@attrs.define(eq=False)
class RunInProgress:
    """A user program in progress.

    Attributes:
        by: the task that runs it.
        stop: why it is being cancelled, if it is.
    """

    by: Literal["worker", "apart"]
    stop: Stop | None = None


@attrs.define(eq=False)
class Mailbox:
    """The requests and runs of one instance in this process.

    Attributes:
        address: the instance.
        job: its definition.
        waiting: requests, in order.
        deferred: requests that wait for the end of the run in progress.
        running: the ids of the runs in progress.
        worker: the task that executes turns; None while turns run synchronously or there are none.
        state: whether turns are being executed.
        apart: the task of a run beside the mailbox.
        runs: the user programs in progress: at most one by the worker and one apart.
        served: the requests whose turns a task executes now.
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
        """Whether nothing waits and nothing runs, so that the mailbox can be dropped."""
        return not self.waiting and not self.deferred and not self.running

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

    def put(self, item: Item, place: Literal["head", "tail"]) -> None:
        """Queue a request."""
        if place == "head":
            self.waiting.appendleft(item)
        else:
            self.waiting.append(item)

    def stop(self, run: RunInProgress, why: Stop) -> None:
        """Cancel a run and record the reason. The first reason is kept; a shutdown cancels a run again."""
        task = self.worker if run.by == "worker" else self.apart
        if task is not None and (run.stop is None or why == "released"):
            run.stop = run.stop or why
            task.cancel()

    def stop_runs(self, why: Stop) -> None:
        """Cancel every run in progress."""
        for run in self.runs:
            self.stop(run, why)

    def wake_deferred(self) -> None:
        """Queue the deferred requests first, in order, because the run in progress is settled."""
        self.waiting.extendleft(reversed(self.deferred))
        self.deferred = ()
