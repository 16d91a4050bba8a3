"""Groups of store requests that cross the boundary of a worker together, as the engine sends them to real stores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import attrs
from returns.future import FutureResult
from returns.result import Failure, Result

from perdure.programs.future import answer_of
from perdure.runtime.eager_task import start_eagerly
from perdure.stores.groups import LoadRequest
from perdure.stores.store import Store
from perdure.testing.fault import Delay, Fault, Hang, When
from perdure.testing.world.boundary import Boundary, note_answer
from perdure.testing.world.trace_event import FaultInjected
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
            note_answer(self.boundary, self.operation, (request,), answer)
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
        note_answer(self.boundary, self.operation, (request,), answer)
        return answer


def groups_behind(boundary: Boundary, store: Store) -> dict[str, Any]:
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
