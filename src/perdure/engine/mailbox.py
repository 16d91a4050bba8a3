"""Mailboxes: requests wait here, first in, first out, so that one instance takes one turn at a time."""

from __future__ import annotations

from collections import deque
from typing import Any, Literal

import attrs

from perdure.jobs.definition import Definition
from perdure.jobs.request import Request
from perdure.jobs.step import Execute
from perdure.program import Exit
from perdure.runtime.record import Future, Task
from perdure.values.address import Address

AnyDefinition = Definition[Any, Any, Any]  # whatever its handle, teller and services


@attrs.define(eq=False)
class Item:
    """One request in a mailbox.

    Attributes:
        request: what is asked.
        answer: what the caller waits for; cancelling it takes a waiting request out.
        ended: the run whose end this item is, when it did not hold the mailbox.
        recovered: whether a run was recovered already for this request's sake.
    """

    request: Request
    answer: Future[Any]
    ended: tuple[Execute, Exit[Any, Any]] | None = None
    recovered: Literal["not_yet", "once"] = "not_yet"


@attrs.define(eq=False)
class Mailbox:
    """What is going on around one instance in this process.

    Attributes:
        address: the instance.
        job: its definition.
        waiting: requests, in order.
        deferred: requests that wait for the end of the run in progress.
        running: the ids of the runs in progress.
        run: the task that runs user code, while there is one.
        stopping: why that task is being cancelled, if it is.
        worker: whether somebody takes turns from here.
    """

    address: Address
    job: AnyDefinition
    waiting: deque[Item] = attrs.Factory(deque[Item])
    deferred: deque[Item] = attrs.Factory(deque[Item])
    running: tuple[str, ...] = ()
    run: Task[Any] | None = None
    stopping: Literal["no", "timed_out", "interrupted", "released"] = "no"
    worker: Literal["idle", "busy"] = "idle"

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits and nothing runs, so that the mailbox can be forgotten."""
        return not self.waiting and not self.deferred and not self.running

    def put(self, item: Item, place: Literal["head", "tail"]) -> None:
        """Let a request wait."""
        if place == "head":
            self.waiting.appendleft(item)
        else:
            self.waiting.append(item)

    def wake_deferred(self) -> None:
        """The run in progress is settled: what waited for it goes first, in order."""
        while self.deferred:
            self.waiting.appendleft(self.deferred.pop())
