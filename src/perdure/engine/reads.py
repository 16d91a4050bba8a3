"""Reads the instances of turns, those together that are wanted together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Literal

import attrs
from returns.future import FutureResult
from returns.result import Result

from perdure.engine.store_groups import StoreGroups
from perdure.runtime.record import Runtime
from perdure.stores.contract import Store
from perdure.stores.values import LoadRequest
from perdure.values.address import Address
from perdure.values.errors import StoreError, StoreUnavailable
from perdure.values.transition import Loaded

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

    __slots__ = ("_reads", "_runtime", "_store", "_told")

    def __init__(self, store: Store, runtime: Runtime) -> None:
        self._store = store
        self._runtime = runtime
        self._told: list[tuple[OnLoaded, Result[Loaded, Any]]] = []
        self._reads: StoreGroups[LoadRequest] = StoreGroups(
            runtime=runtime,
            send_all=store.load_all,
            send_one=self._one,
            lost=lambda reason: StoreUnavailable("load", reason),
            name="perdure:load",
            waits=store.waits,
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

    def _one(self, request: LoadRequest) -> FutureResult[Loaded, StoreError]:
        return self._store.load(request.address, request.idempotency_key, request.now_ms)
