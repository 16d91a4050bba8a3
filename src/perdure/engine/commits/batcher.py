"""Batches the requests to the store that are ready together: one batch is under way while the next one collects.

The reads of turns travel in such batches, and so do the commits (`perdure.engine.commits.turn_commits`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

import attrs
from returns.result import Failure, Result

from perdure.runtime.record import LogRecord, Runtime
from perdure.stores.contract import Store
from perdure.stores.values import LoadRequest
from perdure.values.address import Address
from perdure.values.errors import StoreUnavailable
from perdure.values.transition import Loaded

R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")

Answers: TypeAlias = Sequence[Result[Any, Any]]
SendAll: TypeAlias = Callable[[Sequence[R], Callable[[Answers], None]], None]


class GroupMember(Protocol[R_co]):
    """One request in a group."""

    def leave(self) -> R_co:
        """Return the request, which does not change from now on."""
        ...

    @property
    def tell(self) -> Callable[[Any, Result[Any, Any]], None]:
        """Called with the request and the store's answer, inside its callback: run no code of jobs here."""
        ...


@attrs.define(kw_only=True)
class StoreBatcher(Generic[R]):
    """The requests of one kind to the store.

    A batch is sent at the end of the event-loop step in which its first request arrived. If another batch is under way
    then, it is sent two loop steps after that one completes, so that callers can enqueue (1) and turns can be decided
    (2). A store that never waits gets each request immediately: nothing is ready together.

    Attributes:
        runtime: ends the step.
        send_all: sends a group.
        lost: makes the error of requests whose answer is not known.
        synchronous: whether the store answers within each call, so that a group gains nothing.
        largest: how many requests one group holds at most.
        took_ms: how long the group took whose answers are passed on now, from its first request.
    """

    runtime: Runtime
    send_all: SendAll[R]
    lost: Callable[[str], Exception]
    synchronous: bool = False
    largest: int = attrs.field(default=attrs.Factory(lambda self: self.runtime.sizes.batch, takes_self=True))
    took_ms: float = 0.0
    _waiting: list[GroupMember[R]] = attrs.Factory(list[Any])
    _begun_ms: list[float] = attrs.Factory(list[float])  # the first request of each group that they will leave in
    _state: Literal["idle", "gathering", "leaving", "under_way"] = "idle"

    def add(self, member: GroupMember[R]) -> None:
        """Send a request with the next group, or alone if the store answers within the call."""
        if self.synchronous:
            self._send([member], self.runtime.monotonic_ms())
            return
        waiting = self._waiting
        if len(waiting) % self.largest == 0:
            self._begun_ms.append(self.runtime.monotonic_ms())
        waiting.append(member)
        if self._state == "idle":
            self._leave_soon(1)

    def hold_back(self) -> None:
        """Keep the requests that arrive from now on together until `flush`, which follows in this step."""
        if self._state == "idle":
            self._state = "gathering"

    def flush(self) -> None:
        """Send the requests that have arrived since `hold_back`, unless another group is on its way."""
        if self._state == "gathering":
            self._state = "idle"
            if self._waiting:
                self._leave()

    def _leave_soon(self, steps: int) -> None:
        self._state = "leaving"
        leave = self._leave if steps == 1 else partial(self._leave_soon, steps - 1)
        try:
            self.runtime.at_step_end(leave)
        except Exception as defect:  # noqa: BLE001 - of the engine: a group that never leaves blocks all
            self.runtime.log(LogRecord("error", "internal error before a group", {"error": repr(defect)}))
            self._leave()

    def _leave(self) -> None:
        group, self._waiting = self._waiting[: self.largest], self._waiting[self.largest :]
        self._state = "under_way"
        self._send(group, self._begun_ms.pop(0))

    def _send(self, group: Sequence[GroupMember[R]], since_ms: float) -> None:
        try:
            self.send_all([member.leave() for member in group], partial(self._answered, group, since_ms))
        except Exception as defect:  # noqa: BLE001 - a store that raises instead of answering
            self._answered(group, since_ms, [Failure(self.lost(f"the store raised: {defect!r}"))] * len(group))

    def _answered(self, group: Sequence[GroupMember[R]], since_ms: float, answers: Answers) -> None:
        self._state = "idle"
        self.took_ms = self.runtime.monotonic_ms() - since_ms
        # Zipped without this check, callers would get the answers of their neighbours.
        if len(answers) != len(group):
            answers = [Failure(self.lost(f"the store gave {len(answers)} answers to {len(group)} requests"))] * len(
                group
            )
        for member, answer in zip(group, answers, strict=True):
            try:
                member.tell(member, answer)
            except Exception as defect:  # noqa: BLE001 - of the engine: its neighbours and the store continue
                self.runtime.log(LogRecord("error", "internal error after a group", {"error": repr(defect)}))
        # Two steps: in the first the callers that were answered send again, in the second the engine decides. Groups
        # that leave earlier are smaller, and each costs the same round trip (docs/decisions/0025).
        if self._waiting and self._state == "idle":
            self._leave_soon(2)


OnLoaded = Callable[[Result[Loaded, Any]], None]


@attrs.define(eq=False)
class _Reading:
    """One read.

    Attributes:
        request: the read.
        on_loaded: called with the answer, in the next step of the event loop.
        tell: called with this and the answer.
        answer: an answer that came within the call.
        state: whether the call has returned.
    """

    request: LoadRequest
    on_loaded: OnLoaded
    tell: Callable[[_Reading, Result[Any, Any]], None]
    answer: Result[Loaded, Any] | None = None
    state: Literal["calling", "waiting"] = "calling"

    def leave(self) -> LoadRequest:
        return self.request


class Reads:
    """The reads of turns.

    Args:
        store: stores the instances.
        runtime: ends the step of the event loop.
    """

    __slots__ = ("_reads", "_runtime", "_told")

    def __init__(self, store: Store, runtime: Runtime) -> None:
        self._runtime = runtime
        self._told: list[tuple[OnLoaded, Result[Loaded, Any]]] = []
        self._reads: StoreBatcher[LoadRequest] = StoreBatcher(
            runtime=runtime,
            send_all=store.load,
            lost=lambda reason: StoreUnavailable("load", reason),
            synchronous=store.synchronous,
        )

    def load(self, address: Address, key: str | None, now_ms: int, tell: OnLoaded) -> Result[Loaded, Any] | None:
        """Read an instance and the stored answer of a key.

        Args:
            address: the instance.
            key: the idempotency key of the request.
            now_ms: the clock, for the expiry of the key.
            tell: called with the answer, in the step of the event loop after the callback of the store.

        Returns:
            The answer if the store gives it within the call; otherwise None, and the function is called.
        """
        reading = _Reading(LoadRequest(address, key, now_ms), tell, self._answered)
        self._reads.add(reading)
        reading.state = "waiting"
        return reading.answer

    def _answered(self, reading: _Reading, answer: Result[Any, Any]) -> None:
        # An answer within the call is returned by it. Passed on as well, the turn would be decided twice.
        if reading.state == "calling":
            reading.answer = answer
        else:
            self._tell_later(reading.on_loaded, answer)

    def _tell_later(self, tell: OnLoaded, answer: Result[Loaded, Any]) -> None:
        """Pass an answer on in the next step of the event loop: user code does not run in the store's callback."""
        self._told.append((tell, answer))
        if len(self._told) == 1:
            self._runtime.call_soon(self._tell_all)

    def _tell_all(self) -> None:
        told, self._told = deque(self._told), []
        try:
            while told:
                tell, answer = told.popleft()
                tell(answer)
        finally:  # a defect in one turn keeps no other from its own
            for left in told:
                self._tell_later(*left)
