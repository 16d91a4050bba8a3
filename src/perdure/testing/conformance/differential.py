"""Two stores that must agree: the one under test, and the memory store as its model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any, assert_never

import attrs
from returns.result import Failure, Result, Success

from perdure.stores.store import Query, Retention, Store
from perdure.testing.conformance import requirements
from perdure.testing.conformance.describe import asked as in_words
from perdure.testing.conformance.describe import outcome, shown
from perdure.testing.conformance.harness import KillableHarness, StoreHarness
from perdure.testing.conformance.hosted import SubprocessHarness
from perdure.testing.conformance.linearizability import in_some_order
from perdure.testing.conformance.model import Asked, ModelStore, Operation, ask, comparable
from perdure.testing.conformance.recorded_store import RecordedStore, unnumbered
from perdure.testing.conformance.requirement import Requirement, RequirementViolated, same, value
from perdure.testing.conformance.steps import (
    PLACES,
    CommitStep,
    ConcurrentStep,
    FindStep,
    KillStep,
    PruneStep,
    RedriveStep,
    ReopenStep,
    Step,
)
from perdure.values.address import Address
from perdure.values.errors import OutcomeUnknown, StoreUnavailable
from perdure.values.instance import Fence, Instance
from perdure.values.transition import Transition


class Differential:
    """Does every step to both sides and compares everything that can be seen."""

    def __init__(self, place: StoreHarness, store: Store) -> None:
        self._place = place
        self._model = ModelStore()
        self._story: list[str] = []
        self.tested = RecordedStore(store)
        self.lines_run = 0  # of the store's code, during the last kill

    async def take(self, step: Step) -> None:
        """Do one step.

        Raises:
            RequirementViolated: the stores differ.
        """
        try:
            await self._take(step)
            await self._compare_and_learn()
        except RequirementViolated as broken:
            raise broken.within((), self._story) from broken.__cause__

    async def _take(self, step: Step) -> None:
        match step:
            case CommitStep():
                await self._both(*[await side.transition(step) for side in self._sides])
            case RedriveStep(number):
                await self._both(*[await _dead(side, number) for side in self._sides])
            case PruneStep():
                await self._prune(Retention(**attrs.asdict(step)))
            case ReopenStep():
                await self._reopen()
            case FindStep(query):
                await self._find(query)
            case ConcurrentStep(asked):
                await self._together(asked)
            case KillStep(commits=commits, lines=lines):
                await self._kill(commits, lines)
            case _:
                assert_never(step)

    @property
    def _sides(self) -> tuple[RecordedStore, RecordedStore]:
        return self.tested, self._model.side

    async def _both(self, tested: Asked, model: Asked) -> Result[Any, Any]:
        found = await ask(self.tested.store, tested)
        self._note(tested, found)
        expected = await self._model.ask(model)
        _compare(_operation(tested), comparable(found), comparable(expected))
        if isinstance(tested, Transition):
            await self._compare_fence(tested.address, found)
        return found

    async def _compare_fence(self, at: Address, found: Result[Fence, Any]) -> None:
        match found:
            case Success(Fence(incarnation, _) as fence) if incarnation > 0:
                stored = (await value(self.tested.store.load(at))).instance
                same(None if stored is None else stored.fence, fence, "commit answers the fence that is stored")
            case _:
                pass

    def _note(self, asked: Asked, found: Result[Any, Any] | None, letter: str = "") -> None:
        self._story.append(f"{letter}{in_words(_operation(asked), asked)}  ->  {outcome(found)}")

    async def _prune(self, retention: Retention) -> None:
        """Prune until nothing goes any more: which rows go first is the store's own affair, how many is not."""
        removed = retention.limit
        while removed == retention.limit:
            removed = (await self._both(retention, retention)).value_or(0)

    async def _find(self, query: Query) -> None:
        found, expected = [await _found(side, query) for side in self._sides]
        self._story.append(f"{in_words('find', query)}  ->  {shown(found)}")
        _compare("find", found, expected)

    async def _reopen(self) -> None:
        self._story.append("close, and open again")
        await value(self.tested.store.close())
        await self._open()

    async def _open(self) -> None:
        epoch = self.tested.store.epoch
        self.tested.store = await self._place.open()
        if self.tested.store.epoch <= epoch:
            told = f"epoch {epoch} was followed by epoch {self.tested.store.epoch}"
            raise RequirementViolated(told, promises=(requirements.EPOCH,))
        self._model.reopen()

    async def _together(self, asked: tuple[CommitStep | int, ...]) -> None:
        pairs = [await self._prepared(one) for one in asked]
        answers = await asyncio.gather(*(ask(self.tested.store, tested) for tested, _ in pairs))
        self._story.append("at once:")
        await self._explain(pairs, answers)

    async def _kill(self, commits: tuple[CommitStep, ...], lines: int) -> None:
        assert isinstance(self._place, KillableHarness)  # noqa: S101 - only such places are given steps that kill
        pairs = [await self._prepared(one) for one in commits]
        if isinstance(self._place, SubprocessHarness):
            self._place.arm(lines)
        under_way = asyncio.gather(*(ask(self.tested.store, tested) for tested, _ in pairs))
        if isinstance(self._place, SubprocessHarness):
            answers, ran = await under_way, await self._place.disarm()
            await self._place.kill()
            self.lines_run = ran if isinstance(ran, int) else lines
            where = "after its answers" if isinstance(ran, int) else f"before {ran}"
        else:
            await asyncio.sleep(0)
            await self._place.kill()
            answers, where = await under_way, "while they were under way"
        self._story.append(f"under way when the process is killed {where}, and the store is opened again:")
        await self._open()
        asked = [(pair, found) for pair, found in zip(pairs, answers, strict=True) if not _is_refused(found)]
        await self._explain([pair for pair, _ in asked], [None if _is_open(found) else found for _, found in asked])

    async def _prepared(self, one: CommitStep | int) -> tuple[Asked, Asked]:
        if isinstance(one, int):
            return PLACES[one], PLACES[one]
        return await self.tested.transition(one), await self._model.side.transition(one)

    async def _explain(self, pairs: Sequence[tuple[Asked, Asked]], answers: Sequence[Result[Any, Any] | None]) -> None:
        """Take the model to where the store is, if an order of what was asked leads there."""
        operations: list[Operation] = []
        for letter, (tested, model), found in zip(ascii_uppercase, pairs, answers, strict=False):
            self._note(tested, found, letter=f"{letter}: ")
            operations.append(Operation(letter, model, found))
        self._model = await in_some_order(self._model, operations, (await self.tested.look()).shown)

    async def _compare_and_learn(self) -> None:
        tested, model = [await side.look() for side in self._sides]
        for what, expected in model.shown.items():
            _compare(what, tested.shown[what], expected)
        self.tested.learn(tested)
        self._model.side.learn(model)


def _operation(asked: Asked) -> str:
    match asked:
        case Transition():
            return "commit"
        case Retention():
            return "prune"
        case int():
            return "redrive"
        case _:
            return "load"


def _compare(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise RequirementViolated(
            f"{what} is not answered as by the memory store",
            details=(f"the memory store answered: {shown(expected)}", f"this store answered:       {shown(found)}"),
            promises=_promises(what.partition("(")[0], found, expected),
        )


def _promises(operation: str, found: object, expected: object) -> tuple[Requirement, ...]:
    """Return the few promises that a difference is most likely about."""
    if operation != "commit":
        return tuple(one for one in requirements.REQUIREMENTS if one.operation == operation)
    if isinstance(found, Fence) and isinstance(expected, Fence):
        return requirements.NEW_FENCE, requirements.PUT_VERSION
    return requirements.COMPARES_FENCE, requirements.MESSAGE_ONCE


def _is_open(found: Result[Any, Any]) -> bool:
    """Whether an answer leaves open what happened."""
    return isinstance(found, Failure) and isinstance(found.failure(), OutcomeUnknown)


def _is_refused(found: Result[Any, Any]) -> bool:
    """Whether an answer says that nothing was written, as when the process was dead before it was asked."""
    return isinstance(found, Failure) and isinstance(found.failure(), StoreUnavailable)


async def _dead(side: RecordedStore, number: int) -> int:
    ids = [one.message_id for one in await side.dead_letters()] or side.seen or [1]
    return ids[number % len(ids)]


async def _found(side: RecordedStore, query: Query) -> list[Instance]:
    return [unnumbered(one) for one in await value(side.store.find(query))]
