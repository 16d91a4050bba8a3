"""Queues of pending operations: those that wait together are sent together, as one statement."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Generator, Hashable, Sequence
from functools import partial
from typing import Any, Final, Generic, TypeAlias, TypeVar

from returns.result import Failure, Result

from perdure.runtime.record import Future, Runtime
from perdure.values.errors import PerdureError, StoreError, StoreUnavailable

R = TypeVar("R")

GROUP: Final = 1_000
"""Requests in one statement, at most, so that no caller waits long."""

Answer: TypeAlias = Result[Any, Any]
Note: TypeAlias = Callable[[Answer], None]
"""Called with each answer, even if the caller no longer waits."""

Answered: TypeAlias = Callable[[Sequence[Answer]], None]

Send: TypeAlias = Callable[[Sequence[R]], Awaitable[Sequence[Answer]]]


class PendingStatement(Generic[R]):
    """A request to the server. It is sent when its answer is first awaited, and can be awaited again.

    Attributes:
        request: the request.
        operation: its name in errors.
        touches: a group holds each of these at most once.
    """

    __slots__ = ("_answer", "_listener", "_note", "_queue", "operation", "request", "touches")

    def __init__(
        self, queue: Queue[R], operation: str, request: R, touches: tuple[Hashable, ...], note: Note | None
    ) -> None:
        self.request = request
        self.operation = operation
        self.touches = touches
        self._queue = queue
        self._note = note
        self._answer: Future[Any] | None = None
        self._listener: Note | None = None

    def __await__(self) -> Generator[Any, Any, Answer]:
        if self._answer is None:
            refused = self._queue.refusal(self.operation)
            if refused is not None:
                return Failure(refused)
            self._answer = self._queue.runtime.future()
            self._queue.add(self)
        answer: Answer = yield from self._answer.__await__()
        return answer

    def send(self, listener: Note) -> None:
        """Send the request, and call a listener with the answer, instead of awaiting it."""
        refused = self._queue.refusal(self.operation)
        if refused is not None:
            listener(Failure(refused))
            return
        self._listener = listener
        self._queue.add(self)

    def answered(self, answer: Answer) -> None:
        """Note the answer, and pass it to the caller."""
        if self._note is not None:
            self._note(answer)
        listener, self._listener = self._listener, None  # a cycle would wait for the garbage collector
        if listener is not None:
            listener(answer)
        if self._answer is not None and not self._answer.done():  # its caller may be cancelled
            self._answer.set_result(answer)


class Queue(Generic[R]):
    """Pending requests, and the tasks that send them. The next group accumulates while one is with the server.

    Args:
        runtime: starts the tasks.
        name: of the tasks.
        send: sends a group, and returns an answer for each request.
        refusal: returns why an operation is refused now.
        lost: makes the error of a group whose sending raised.
        lanes: groups under way at the same time.
        group: requests in a group.
    """

    def __init__(
        self,
        runtime: Runtime,
        name: str,
        send: Send[R],
        refusal: Callable[[str], StoreError | None],
        lost: Callable[[str], PerdureError],
        *,
        lanes: int = 1,
        group: int = GROUP,
    ) -> None:
        self.runtime = runtime
        self.refusal = refusal
        self._name = name
        self._send = send
        self._lost = lost
        self._free_lanes = lanes
        self._lanes = lanes
        self._group = group
        self._waiting: list[PendingStatement[R]] = []
        self._groups: deque[tuple[Sequence[R], Answered]] = deque()
        self._closers: list[Future[None]] = []

    def operation(
        self, operation: str, request: R, *, touches: tuple[Hashable, ...] = (), note: Note | None = None
    ) -> PendingStatement[R]:
        """Create an operation."""
        return PendingStatement(self, operation, request, touches, note)

    def add(self, pending: PendingStatement[R]) -> None:
        """Add an operation to the next group."""
        self._waiting.append(pending)
        self._start()

    def send_all(self, operation: str, requests: Sequence[R], answered: Answered) -> None:
        """Send requests as a group of their own.

        Args:
            operation: its name in errors.
            requests: as many as fit into a group, which touch nothing in common.
            answered: called with all answers, in order.
        """
        refused = self.refusal(operation)
        if refused is not None:
            answered([Failure(refused)] * len(requests))
            return
        self._groups.append((requests, answered))
        self._start()

    def _start(self) -> None:
        if self._free_lanes:
            self._free_lanes -= 1
            # The task starts after this step of the event loop, so that all requests of the step join its group.
            self.runtime.spawn(self._drive(), name=self._name)

    async def emptied(self) -> None:
        """Wait until every operation has its answer."""
        if self._free_lanes < self._lanes:
            self._closers.append(emptied := self.runtime.future())
            await emptied

    async def _drive(self) -> None:
        try:
            while self._waiting or self._groups:
                if self._groups:
                    requests, answered = self._groups.popleft()
                    await self._serve(requests, answered)
                if self._waiting:
                    group = self._next_group()
                    await self._serve([pending.request for pending in group], partial(_answer, group))
        finally:
            self._free_lanes += 1
            if self._free_lanes == self._lanes:
                self._end()

    async def _serve(self, requests: Sequence[R], answered: Answered) -> None:
        try:
            answers = await self._send(requests)
        except Exception as error:  # noqa: BLE001 - a defect of this code, reported to the callers
            answers = [Failure(self._lost(repr(error)))] * len(requests)
        except BaseException as error:  # the event loop is stopping
            answered([Failure(self._lost(repr(error)))] * len(requests))
            raise
        answered(answers)

    def _next_group(self) -> list[PendingStatement[R]]:
        """Take the next operations in their order. One that touches the same as an earlier one waits."""
        group: list[PendingStatement[R]] = []
        left: list[PendingStatement[R]] = []
        touched: set[Hashable] = set()
        for at, pending in enumerate(self._waiting):
            if len(group) == self._group:
                left.extend(self._waiting[at:])
                break
            (group if touched.isdisjoint(pending.touches) else left).append(pending)
            touched.update(pending.touches)
        self._waiting = left
        return group

    def _end(self) -> None:
        stopping = Failure(StoreUnavailable("answer", "its event loop is stopping"))
        unsent, self._waiting = self._waiting, []
        _answer(unsent, [stopping] * len(unsent))
        while self._groups:
            requests, answered = self._groups.popleft()
            answered([stopping] * len(requests))
        closers, self._closers = self._closers, []
        for closer in closers:
            if not closer.done():
                closer.set_result(None)


class Gathered:
    """Collects the answers of several operations, and passes them on together.

    Args:
        count: how many.
        answered: called with all answers, in order.
    """

    def __init__(self, count: int, answered: Answered) -> None:
        self._answers: list[Any] = [None] * count
        self._missing = count
        self._answered = answered
        if not count:
            answered([])

    def listener(self, at: int) -> Note:
        """Return the listener of one operation."""

        def listen(answer: Answer) -> None:
            self._answers[at] = answer
            self._missing -= 1
            if not self._missing:
                self._answered(self._answers)

        return listen


def _answer(group: Sequence[PendingStatement[R]], answers: Sequence[Answer]) -> None:
    for pending, answer in zip(group, answers, strict=True):
        pending.answered(answer)
