"""The operations of a store behind the boundary of a worker, alone and in groups, as the engine sends them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import attrs
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.programs.future import answer_of, asked
from perdure.runtime.tasks import start_eagerly
from perdure.stores.contract import Store
from perdure.stores.values import LoadRequest
from perdure.testing.fault import OPTIONAL_OPERATIONS, SHARED_OPERATIONS, STORE_OPERATIONS, Delay, Fault, Hang, When
from perdure.testing.world.boundary import Boundary
from perdure.testing.world.trace_event import FaultInjected, MessagesRead, TransitionCommitted
from perdure.values.errors import OutcomeUnknown, StoreUnavailable
from perdure.values.transition import Transition

R = TypeVar("R")

Answers: TypeAlias = Sequence[Result[Any, Any]]


@attrs.frozen(kw_only=True)
class GroupCrossing(Generic[R]):
    """The requests of one operation, which cross the boundary in groups.

    Each commit is atomic, and its group is not: a worker may die within a group, when only the first of its transitions
    are written. A fault affects one request of a group. Its neighbours are carried out, but all answers of the group
    arrive together, so a slow or hanging request delays them.

    Attributes:
        boundary: the boundary of the worker.
        operation: the location: ``load`` or ``commit``.
        all_of: carries out requests together.
        one_of: carries out one request.
        lost: makes the error of a request during which the store raised.
        parts: whether a worker may die within a group: a read changes nothing.
    """

    boundary: Boundary
    operation: str
    all_of: Callable[[Sequence[R], Callable[[Answers], None]], None]
    one_of: Callable[[R], FutureResult[Any, Any]]
    lost: Callable[[str], Exception]
    parts: Literal["whole", "separate"]

    def __call__(self, requests: Sequence[R], answered: Callable[[Answers], None], /) -> None:
        """Carry out a group, and call back with the answers."""
        name = f"{self.operation} of {len(requests)}"
        start_eagerly(self._cross(requests, answered), self.boundary.runtime, name=name)

    async def _cross(self, requests: Sequence[R], answered: Callable[[Answers], None]) -> None:
        await self.boundary.cross(f"before {self.operation}")
        answers = await self._carried_out(requests)
        await self.boundary.cross(f"after {self.operation}")
        answered(answers)

    async def _carried_out(self, requests: Sequence[R]) -> Answers:
        boundary, answers, together = self.boundary, list[Result[Any, Any]](), list[R]()
        faults = [boundary.fault_at(self.operation) for _ in requests]
        await self._slow_down(faults, "before")
        for place, (request, fault) in enumerate(zip(requests, faults, strict=True)):
            if place and self.parts == "separate":
                if boundary.dies_next:
                    await self._together(together)
                await boundary.pass_within(f"within {self.operation}")
            if fault is None or isinstance(fault, Delay | Hang):
                together.append(request)
            else:
                answers += await self._together(together)
                together = []
                answers.append(await self._disturbed(request, fault))
        answers += await self._together(together)
        await self._slow_down(faults, "after")
        return answers

    async def _slow_down(self, faults: Sequence[Fault | None], when: When) -> None:
        """Wait as long as the slowest request of the group."""
        slow = [fault for fault in faults if isinstance(fault, Delay | Hang) and fault.when == when]
        if not slow:
            return
        slowest = max(slow, key=lambda fault: fault.ms if isinstance(fault, Delay) else float("inf"))
        self.boundary.note(FaultInjected(slowest))
        await self.boundary.disturbed(self.operation, attrs.evolve(slowest, when="before"), _nothing)

    async def _together(self, requests: list[R]) -> Answers:
        if not requests:
            return ()
        future = self.boundary.runtime.future()
        self.all_of(requests, future.set_result)
        answers: Answers = await future
        for request, answer in zip(requests, answers, strict=True):
            _note_answer(self.boundary, self.operation, (request,), answer)
        return answers

    async def _disturbed(self, request: R, fault: Fault) -> Result[Any, Any]:
        self.boundary.note(FaultInjected(fault))
        try:
            answer: Result[Any, Any] = await self.boundary.disturbed(self.operation, fault, lambda: self._one(request))
        except Exception as raised:  # noqa: BLE001 - of the fault
            return Failure(self.lost(f"the store raised: {raised!r}"))
        return answer

    async def _one(self, request: R) -> Result[Any, Any]:
        answer = await answer_of(self.one_of(request))
        _note_answer(self.boundary, self.operation, (request,), answer)
        return answer


def _groups_behind(boundary: Boundary, store: Store) -> dict[str, Any]:
    """Return the operations of a store that take groups, behind a boundary."""

    def load(request: LoadRequest) -> FutureResult[Any, Any]:
        return store.load(request.address, request.idempotency_key, request.now_ms)

    def not_loaded(reason: str) -> Exception:
        return StoreUnavailable("load", reason)

    groups: dict[str, Any] = {}
    if store.load_all is not None:
        groups["load_all"] = GroupCrossing[LoadRequest](
            boundary=boundary,
            operation="load",
            all_of=store.load_all,
            one_of=load,
            lost=not_loaded,
            parts="whole",
        )
    if store.commit_all is not None:
        groups["commit_all"] = GroupCrossing[Transition](
            boundary=boundary,
            operation="commit",
            all_of=store.commit_all,
            one_of=store.commit,
            lost=OutcomeUnknown,
            parts="separate",
        )
    return groups


async def _nothing() -> None:
    """Do nothing."""


# ---------------------------------------------------------------- the store
def store_behind(boundary: Boundary, store: Store) -> Store:
    """Return a store behind a boundary, and record its commits.

    Args:
        boundary: the boundary.
        store: the store.
    """
    changed: dict[str, Any] = {
        name: partial(_cross_to_store, boundary, name, operation)
        for name in (*STORE_OPERATIONS, *OPTIONAL_OPERATIONS)
        if (operation := getattr(store, name)) is not None
    }
    if store.sharing is not None:
        shared: dict[str, Any] = {
            name: partial(_cross_to_store, boundary, name, getattr(store.sharing, name))
            for name in (*SHARED_OPERATIONS, "due", "messages")
        }
        changed["sharing"] = attrs.evolve(store.sharing, **shared)
    if boundary.requests == "single":
        return attrs.evolve(store, **changed, load_all=None, commit_all=None)
    return attrs.evolve(store, **changed, **_groups_behind(boundary, store), waits="for_io")


def _cross_to_store(
    boundary: Boundary, name: str, operation: Callable[..., FutureResult[Any, Any]], *args: Any
) -> FutureResult[Any, Any]:
    return asked(boundary.around(name, lambda: _answered(boundary, name, args, operation(*args))))


async def _answered(
    boundary: Boundary, name: str, args: tuple[Any, ...], operation: FutureResult[Any, Any]
) -> Result[Any, Any]:
    result = await answer_of(operation)
    _note_answer(boundary, name, args, result)
    return result


def _note_answer(boundary: Boundary, name: str, args: tuple[Any, ...], result: Result[Any, Any]) -> None:
    """Record the result of a store operation, if the trace shows it."""
    if name == "commit" and isinstance(result, Success):
        boundary.note(TransitionCommitted(args[0], result.unwrap()))
    elif name == "messages" and isinstance(result, Success) and result.unwrap():
        boundary.note(MessagesRead(result.unwrap()))
