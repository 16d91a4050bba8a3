"""Take a history's steps in the store under test and in its model, and compare the two after each step.

A `RecordedStore` keeps the fences and ids seen in each store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from string import ascii_uppercase
from typing import Any, Literal, TypeAlias, assert_never

import attrs
from returns.result import Failure, Result, Success

from perdure.stores.contract import Store, commit_one, load_one
from perdure.stores.memory import MemoryBackend
from perdure.stores.values import LoggedEvent, Query, Retention
from perdure.testing.conformance import requirements
from perdure.testing.conformance.assertions import Requirement, RequirementViolated, answer, outcome, same, shown, value
from perdure.testing.conformance.assertions import asked as in_words
from perdure.testing.conformance.harness import KillableHarness, StoreHarness, must_open, present
from perdure.testing.conformance.histories import (
    ERROR,
    FAR_MS,
    KEYS,
    PLACES,
    CommitStep,
    ConcurrentStep,
    FindStep,
    InboundStep,
    KeepStep,
    KillStep,
    PruneStep,
    RedriveStep,
    ReopenStep,
    Step,
    message,
    started,
)
from perdure.testing.conformance.requirements import ATOMIC, CONCURRENT, DURABLE, OLDEST_FIRST, QUEUED
from perdure.testing.conformance.subprocess_harness import (
    ArmCrash,
    ArmWriteLimit,
    LinesRun,
    SourceLine,
    SubprocessHarness,
)
from perdure.values.address import Address
from perdure.values.errors import OutcomeUnknown, StoreUnavailable
from perdure.values.instance import Fence, Instance
from perdure.values.limits import KeepHistory
from perdure.values.message import Consumed, DeadLettered, MessageFate, Postponed, StoredMessage
from perdure.values.transition import JournalChange, KeepInstance, Loaded, Purge, Put, Transition, Write

INSTANTS = (0, 4, 10, 20)
"""The instants at which the stores are compared."""

ALL = 1_000


@attrs.frozen
class StoreContent:
    """Everything that a store shows at one moment.

    Attributes:
        shown: the answers, without the store's own numbers.
        message_ids: ids for the messages that may be delivered, in the order in which they were read.
    """

    shown: dict[str, object]
    fences: dict[Address, Fence]
    message_ids: tuple[int, ...]


@attrs.define
class RecordedStore:
    """One of the two stores. The two sides see the same things under their own numbers.

    Attributes:
        fences: the fences that were learned, for each address, the newest last.
        seen: the message ids that were learned, in the order in which they were first seen.
        journals: whether both stores keep journals.

    Both are learned from what the store holds after a step, never from a commit's answer: a kill may lose the answer to
    a commit that survives, and the two sides must learn the same.
    """

    store: Store
    fences: dict[Address, list[Fence]] = attrs.Factory(lambda: {at: [] for at in PLACES})
    seen: list[int] = attrs.Factory(list[int])
    journals: Literal["kept", "none"] = "kept"

    async def transition(self, step: CommitStep) -> Transition:
        """Make a step's transition, with this side's fences and ids."""
        at = PLACES[step.at]
        expected = await self._fence(step, at)
        journal = step.journal if step.write == "put" and self.journals == "kept" else None
        length = await self._length(at, expected, journal)
        if journal is not None:
            earlier = length - len(journal.bodies)
            # Steps are drawn without a store: one may rewrite rows that this side does not have.
            journal = attrs.evolve(journal, rewritten=tuple(row for row in journal.rewritten if row[0] < earlier))
        return Transition(
            address=at,
            expected=expected,
            write=_write(step, at, length),
            journal=journal,
            remember=step.remember,
            new_keys=step.new_keys,
            messages=tuple(message(at, PLACES[target], str(target)) for target in step.targets),
            inbound=None if step.inbound is None else await self._fate(step.inbound),
            events=tuple(started(at, at_ms=at_ms) for at_ms in step.event_ms),
        )

    def learn(self, look: StoreContent) -> None:
        """Remember the fences and ids in a look, for later steps."""
        for at, fence in look.fences.items():
            if fence not in self.fences[at]:
                self.fences[at].append(fence)
        self.seen += [id_ for id_ in look.message_ids if id_ not in self.seen]

    async def messages(self, now_ms: int) -> list[StoredMessage]:
        """Return the messages that may be delivered."""
        found = list(await value(self.store.messages(now_ms, ALL)))
        ids = [one.message_id for one in found]
        if ids != sorted(set(ids)):
            raise RequirementViolated(f"messages returns the oldest first: {ids}", requirements=(OLDEST_FIRST,))
        return found

    async def dead_letters(self) -> list[StoredMessage]:
        """Return the dead letters."""
        return list(await value(self.store.dead_letters(0, ALL)))

    async def look(self) -> StoreContent:
        """Return all that can be seen in the store. It learns nothing from it."""
        store = self.store
        seen: dict[str, object] = {}
        fences: dict[Address, Fence] = {}
        ids: dict[int, None] = {}
        for at in PLACES:
            for now_ms in (0, 10):
                for key in KEYS:
                    loaded = await value(load_one(store, at, key, now_ms))
                    seen[f"load({at}, {key}, {now_ms})"] = bare(loaded)
                    if loaded.instance is not None and loaded.instance.fence is not None:
                        fences[at] = loaded.instance.fence
            fence = fences.get(at) or next(reversed(self.fences[at]), Fence(0, 0))  # of a purged one: it must be gone
            if self.journals == "kept" and store.journal is not None:
                seen[f"journal({at})"] = await value(store.journal.read(at, fence.incarnation, 0, ALL))
            seen[f"history({at})"] = _events(await value(store.history(at, None, ALL)))
        for instant_ms in INSTANTS:
            seen[f"due({instant_ms})"] = [unnumbered(one) for one in await value(store.due(instant_ms, ALL))]
            seen[f"next_alarm({instant_ms})"] = await value(store.next_alarm(instant_ms))
            messages = await self.messages(instant_ms)
            seen[f"messages({instant_ms})"] = [_anonymous(one) for one in messages]
            ids |= dict.fromkeys(one.message_id for one in messages)
            seen[f"next_message({instant_ms})"] = await value(store.next_message(instant_ms))
        await self._check_queued()
        seen["dead_letters()"] = [_anonymous(one) for one in await self.dead_letters()]
        seen["claimed()"] = [unnumbered(one) for one in await value(store.claimed(0, ALL))]
        seen["events()"] = _events(await value(store.events(0, ALL)))
        return StoreContent(seen, fences, tuple(ids))

    async def _check_queued(self) -> None:
        """Check that exactly the instances that are queued by their rows are in the lanes."""
        lanes = self.store.lanes
        if lanes is None:
            return
        rows = [row for at in PLACES if (row := (await value(load_one(self.store, at))).instance) is not None]
        expected = [row for row in rows if row.rank_ms is not None]
        expected.sort(key=lambda row: (row.lane or "", row.rank_ms, row.incarnation))
        jobs = sorted({(at.kind, at.name) for at in PLACES})
        names = [(job, await value(lanes.names(job, None, ALL))) for job in jobs]
        found = [one for job, of_job in names for one in await value(lanes.queued(job, of_job, ALL))]
        rows = [row for lane in found for row in lane.instances]
        if rows != expected or not all(lane.instances for lane in found):
            raise RequirementViolated(f"expected {expected} in the lanes, got {found}", requirements=(QUEUED,))

    async def _fence(self, step: CommitStep, at: Address) -> Fence | None:
        known = self.fences[at]
        match step.fence:
            case "right":
                stored = (await value(load_one(self.store, at))).instance
                return None if stored is None else stored.fence
            case "old":
                return known[0] if known else None  # of the first incarnation
            case "none":
                return None
            case "foreign":
                others = self.fences[PLACES[step.at - 1]]
                return others[-1] if others else None
            case _:
                assert_never(step.fence)

    async def _length(self, at: Address, expected: Fence | None, journal: JournalChange | None) -> int:
        """Return the journal length after a transition: a right one continues from the stored length."""
        stored = None if expected is None else (await value(load_one(self.store, at))).instance
        before = 0 if stored is None or (journal is not None and journal.earlier == "cut") else stored.journal_length
        return before + (0 if journal is None else len(journal.bodies))

    async def _fate(self, inbound: InboundStep) -> MessageFate | None:
        deliverable = [one.message_id for one in await self.messages(INSTANTS[-1])]
        ids = deliverable if inbound.of == "deliverable" else self.seen
        if not ids:
            return None
        message_id = ids[inbound.number % len(ids)]
        match inbound.fate:
            case "consumed":
                return Consumed(message_id)
            case "postponed":
                not_before_ms = inbound.not_before_ms
                return Postponed(message_id=message_id, deliveries=1, not_before_ms=not_before_ms, error=None)
            case "dead_lettered":
                return DeadLettered(message_id=message_id, deliveries=2, error=ERROR)
            case _:
                assert_never(inbound.fate)


def bare(loaded: Loaded) -> Loaded:
    """Return a loaded result without the number that each store assigns."""
    return loaded if loaded.instance is None else attrs.evolve(loaded, instance=unnumbered(loaded.instance))


def unnumbered(instance: Instance) -> Instance:
    """Return an instance without its incarnation, which each store assigns."""
    return attrs.evolve(instance, incarnation=1)


def _anonymous(stored: StoredMessage) -> StoredMessage:
    return attrs.evolve(stored, message_id=0)


def _events(logged: tuple[LoggedEvent, ...]) -> list[object]:
    return [one.event for one in logged]


def _write(step: CommitStep, at: Address, journal_length: int) -> Write:
    match step.write:
        case "put":
            return Put(attrs.evolve(step.instance, address=at, journal_length=journal_length))
        case "purge":
            return Purge()
        case "retire":
            return Purge(own_messages="kept")
        case "keep":
            return KeepInstance()
        case _:
            assert_never(step.write)


OperationArgument: TypeAlias = Transition | Address | Retention | KeepStep | int
"""An operation: commit a transition, load an address, prune, declare a history, or redrive the message of this id."""


class ModelStore:
    """A memory store that records its operations, so that it can repeat them."""

    def __init__(self, journals: Literal["kept", "none"] = "kept") -> None:
        self._backend = MemoryBackend()
        self._asked: list[OperationArgument] = []
        self.side = RecordedStore(self._backend.open(), journals=journals)

    async def ask(self, asked: OperationArgument) -> Result[Any, Any]:
        """Execute an operation, and record it."""
        self._asked.append(asked)
        return await ask(self.side.store, asked)

    def reopen(self) -> None:
        """Open the store again, over the same data."""
        self.side.store = self._backend.open()

    async def again(self) -> ModelStore:
        """Create another model, with the same operations."""
        # A store has no copy. Its operations, repeated, lead to the same content.
        other = ModelStore(self.side.journals)
        for asked in self._asked:
            await other.ask(asked)
        other.side.fences = {at: list(fences) for at, fences in self.side.fences.items()}
        other.side.seen = list(self.side.seen)
        return other

    async def fingerprint(self) -> str:
        """Return all that the model holds, rows included that no read shows yet: two models alike answer alike."""
        look = await self.side.look()
        # Before every expiry: an expired key is still held, though no usual read shows it.
        keys = [bare(await value(load_one(self.side.store, at, key, -1))) for at in PLACES for key in KEYS]
        messages = sorted([*await self._living(), *await self.side.dead_letters()], key=lambda one: one.message_id)
        ids = [one.message_id for one in messages]
        # Numbers are compared by their order only: two models may have given them out differently.
        seen = [ids.index(id_) if id_ in ids else None for id_ in self.side.seen]
        by_age = sorted(look.fences, key=lambda at: look.fences[at].incarnation)
        fences = [_without_numbers(known) for known in self.side.fences.values()]
        rows = [attrs.evolve(one, message_id=0) for one in messages]
        return repr((look.shown, keys, rows, seen, by_age, fences))

    async def _living(self) -> list[StoredMessage]:
        """Return all living messages, those behind others included: they come to light when others are consumed."""
        other, found = await self.again(), list[StoredMessage]()
        while heads := await other.side.messages(FAR_MS):
            found += heads
            for one in heads:
                await other.ask(Transition(address=one.message.target, inbound=Consumed(one.message_id)))
        return found


def _without_numbers(known: list[Fence]) -> list[tuple[int, int]]:
    incarnations = [fence.incarnation for fence in known]
    return [(incarnations.index(fence.incarnation), fence.version) for fence in known]


async def ask(store: Store, asked: OperationArgument) -> Result[Any, Any]:
    """Execute an operation."""
    match asked:
        case Transition():
            return await answer(commit_one(store, asked))
        case Address():
            return await answer(load_one(store, asked))
        case Retention():
            return await answer(store.prune(asked))
        case KeepStep(age_ms, events):
            history = KeepHistory(age=timedelta(milliseconds=age_ms), events=events)
            return await answer(present(store.histories).declare({(PLACES[0].kind, PLACES[0].name): history}))
        case int():
            return await answer(store.redrive(asked))
        case _:
            assert_never(asked)


def comparable(found: Result[Any, Any]) -> object:
    """Return a result without the numbers that each store assigns."""
    match found:
        case Success(Fence(incarnation, version)):
            return Fence(min(incarnation, 1), version)
        case Success(Loaded() as loaded):
            return bare(loaded)
        case Failure(error):
            return type(error).__name__, str(error)
        case _:
            return found


@attrs.frozen
class Operation:
    """One of several concurrent operations.

    Attributes:
        letter: the operation's name in the story.
        asked: the operation, with the model's numbers.
        answered: the store's result. None without one.
    """

    letter: str
    asked: OperationArgument
    answered: Result[Any, Any] | None


_SHOWN = 2  # differences


@attrs.frozen
class _End:
    """An order that returns the store's results, and how the model's content then differs from the store's."""

    model: ModelStore
    order: tuple[int, ...]
    differences: tuple[tuple[str, str, str], ...]

    def shown(self) -> list[str]:
        """Describe the first differences."""
        lines: list[str] = []
        for what, model, store in self.differences[:_SHOWN]:
            lines += [f"{what}: the model has {model}", f"{' ' * len(what)}  the store has {store}"]
        more = len(self.differences) - _SHOWN
        return [*lines, f"and {more} more"] if more > 0 else lines


async def in_some_order(model: ModelStore, operations: Sequence[Operation], holds: dict[str, Any]) -> list[ModelStore]:
    """Find the operation orders that explain a store's results and content.

    Args:
        model: the model, as it was before them. It is not changed.
        operations: the concurrent operations, few.
        holds: the store's current content.

    Returns:
        The model after them, once for each such order. They may differ in rows that no read shows yet, such as a
        message behind another.

    Raises:
        RequirementViolated: there is no such order.
    """
    search = _Search(operations, holds)
    await search.after(model, ())
    if not search.found:
        raise search.broken()
    return search.found


class _Search:
    """Goes through the orders, and keeps the one that comes nearest."""

    def __init__(self, operations: Sequence[Operation], holds: dict[str, Any]) -> None:
        self._operations = operations
        self._holds = holds
        self._nearest: _End | None = None
        self.found: list[ModelStore] = []

    async def after(self, model: ModelStore, done: tuple[int, ...]) -> None:
        """Look for the orders that begin with some operations."""
        left = [number for number in range(len(self._operations)) if number not in done]
        # An operation without an answer may never have happened: the orders that leave it out count as well.
        if all(self._operations[number].answered is None for number in left):
            end = _End(model, done, _differences(self._holds, (await model.side.look()).shown))
            if end.differences:
                self._keep(end)
            else:
                self.found.append(model)
        for number in left:
            # Each order continues from a copy: the others begin from the same content.
            operation, next_ = self._operations[number], await model.again()
            found = await next_.ask(operation.asked)
            if operation.answered is None or comparable(found) == comparable(operation.answered):
                await self.after(next_, (*done, number))

    def _keep(self, end: _End) -> None:
        if self._nearest is None or len(end.differences) < len(self._nearest.differences):
            self._nearest = end

    def broken(self) -> RequirementViolated:
        """Describe the nearest order."""
        if not self._operations and self._nearest is not None:
            return RequirementViolated(
                "a kill and the next opening change the content of the store", details=self._nearest.shown()
            )
        unanswered = any(one.answered is None for one in self._operations)
        requirements = (ATOMIC, DURABLE) if unanswered else (ATOMIC, CONCURRENT)
        if self._nearest is None:
            return RequirementViolated("no order of the operations returns these results", requirements=requirements)
        return RequirementViolated(
            "no order of the operations leaves the content of the store",
            details=(f"nearest comes {self._told(self._nearest.order)}; but then", *self._nearest.shown()),
            requirements=requirements,
        )

    def _told(self, order: tuple[int, ...]) -> str:
        done = " then ".join(self._operations[number].letter for number in order)
        lost = [one.letter for number, one in enumerate(self._operations) if number not in order]
        return " ".join([done, *(["without", ", ".join(lost)] if lost else [])]).strip()


def _differences(store: dict[str, Any], model: dict[str, Any]) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (what, shown(expected), shown(store[what])) for what, expected in model.items() if store[what] != expected
    )


class Differential:
    """Does every step to both sides, and compares everything that they show.

    There is one model for each way in which the steps may have come about: after two concurrent operations, or a commit
    that was killed before its answer, a later step may be the first to show what happened.
    """

    def __init__(self, harness: StoreHarness, store: Store) -> None:
        self._harness = harness
        journals: Literal["kept", "none"] = "none" if store.journal is None else "kept"
        self._models = [ModelStore(journals)]
        self._story: list[str] = []
        self.tested = RecordedStore(store, journals=journals)
        self.ran = LinesRun(0, ())  # of the store's code, while the last killed commits or the last killed opening ran

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
                await self._both(lambda side: side.transition(step))
            case RedriveStep(number):
                await self._both(lambda side: _dead(side, number))
            case PruneStep():
                await self._prune(Retention(**attrs.asdict(step)))
            case KeepStep():
                if self.tested.store.histories is not None:
                    await self._both(lambda _: _settled(step))
            case ReopenStep():
                await self._reopen()
            case FindStep(query):
                await self._find(query)
            case ConcurrentStep(asked):
                await self._together(asked)
            case KillStep():
                await self._kill(step)
            case _:
                assert_never(step)

    async def _both(self, make: Callable[[RecordedStore], Awaitable[OperationArgument]]) -> Result[Any, Any]:
        tested = await make(self.tested)
        found = await ask(self.tested.store, tested)
        self._note(tested, found)
        expected = [comparable(await model.ask(await make(model.side))) for model in self._models]
        self._keep_those(_operation(tested), comparable(found), expected)
        if isinstance(tested, Transition):
            await self._compare_fence(tested.address, found)
        return found

    def _keep_those(self, what: str, found: object, expected: Sequence[object]) -> None:
        """Continue with the models that expect this result."""
        if found not in expected:
            _compare(what, found, expected[0])
        # There may be several: a call without an answer leaves open which content is the right one.
        self._models = [model for model, one in zip(self._models, expected, strict=True) if one == found]

    async def _compare_fence(self, at: Address, found: Result[Fence, Any]) -> None:
        match found:
            case Success(Fence(incarnation, _) as fence) if incarnation > 0:
                stored = (await value(load_one(self.tested.store, at))).instance
                same(None if stored is None else stored.fence, fence, "commit answers the fence that is stored")
            case _:
                pass

    def _note(self, asked: OperationArgument, found: Result[Any, Any] | None, letter: str = "") -> None:
        self._story.append(f"{letter}{in_words(_operation(asked), asked)}  ->  {outcome(found)}")

    async def _prune(self, retention: Retention) -> None:
        """Prune until nothing goes any more: which rows go first is the store's own affair, how many is not."""
        removed = retention.limit
        while removed == retention.limit:
            removed = (await self._both(lambda _: _settled(retention))).value_or(0)

    async def _find(self, query: Query) -> None:
        found = await _found(self.tested, query)
        self._story.append(f"{in_words('find', query)}  ->  {shown(found)}")
        self._keep_those("find", found, [await _found(model.side, query) for model in self._models])

    async def _reopen(self) -> None:
        self._story.append("close, and open again")
        await value(self.tested.store.close())
        await self._open()

    async def _open(self) -> None:
        epoch = self.tested.store.epoch
        with must_open():
            self.tested.store = await self._harness.open()
        if self.tested.store.epoch <= epoch:
            told = f"epoch {epoch} was followed by epoch {self.tested.store.epoch}"
            raise RequirementViolated(told, requirements=(requirements.EPOCH,))
        for model in self._models:
            model.reopen()

    async def _together(self, asked: tuple[CommitStep | int, ...]) -> None:
        tested = [await _asked(self.tested, one) for one in asked]
        answers = await asyncio.gather(*(ask(self.tested.store, one) for one in tested))
        self._story.append("at once:")
        await self._explain(asked, tested, answers)

    async def _kill(self, step: KillStep) -> None:
        assert isinstance(self._harness, KillableHarness)  # noqa: S101 - only such harnesses are given steps that kill
        commits = step.commits
        tested = [await _asked(self.tested, one) for one in commits]
        answers, where = await self._killed(self._harness, step, tested)
        self._story.append(f"the process is killed {where}, during:" if commits else "the process is killed")
        if isinstance(self._harness, SubprocessHarness):
            await self._kill_openings(self._harness, step.opening_lines)
        await self._open()
        written = [number for number, found in enumerate(answers) if not _is_refused(found)]
        await self._explain(
            [commits[number] for number in written],
            [tested[number] for number in written],
            [None if _is_open(answers[number]) else answers[number] for number in written],
        )

    async def _killed(
        self, harness: KillableHarness, step: KillStep, tested: Sequence[OperationArgument]
    ) -> tuple[list[Result[Any, Any]], str]:
        """Kill the store, and return its answers and where it was killed."""
        cut = step.cut_percent is not None
        if isinstance(harness, SubprocessHarness):
            harness.arm(ArmCrash(lines=step.lines) if step.cut_percent is None else ArmWriteLimit(step.cut_percent))
        under_way = asyncio.gather(*(ask(self.tested.store, one) for one in tested))
        if not isinstance(harness, SubprocessHarness):
            # The commits begin before the kill.
            await asyncio.sleep(0)
            await harness.kill()
            return await under_way, "while they were under way"
        answers, ran = await under_way, await harness.disarm()
        await harness.kill()
        match ran:
            case LinesRun():
                self.ran = LinesRun(0, ()) if cut else ran
                return answers, "after its answers"
            case SourceLine():
                self.ran = LinesRun(step.lines, ())
                return answers, f"before {ran}"
            case None:
                return answers, "in the middle of a write" if cut else "by itself"
            case _:
                assert_never(ran)

    async def _kill_openings(self, harness: SubprocessHarness, opening_lines: Sequence[int]) -> None:
        for lines in opening_lines:
            with must_open():
                ran = await harness.open_and_kill(lines)
            if isinstance(ran, LinesRun):
                self.ran = ran
            where = f"before {ran}" if isinstance(ran, SourceLine) else "when it is complete"
            self._story.append(f"the next opening is killed {where}")

    async def _explain(
        self,
        steps: Sequence[CommitStep | PruneStep | int],
        tested: Sequence[OperationArgument],
        answers: Sequence[Result[Any, Any] | None],
    ) -> None:
        """Bring the models to the store's state, by every operation order that leads there."""
        for letter, asked, found in zip(ascii_uppercase, tested, answers, strict=False):
            self._note(asked, found, letter=f"{letter}: ")
        holds = (await self.tested.look()).shown
        self._models = await self._explained(steps, answers, holds)

    async def _explained(
        self,
        steps: Sequence[CommitStep | PruneStep | int],
        answers: Sequence[Result[Any, Any] | None],
        holds: dict[str, Any],
    ) -> list[ModelStore]:
        explained: list[ModelStore] = []
        broken: list[RequirementViolated] = []
        for model in self._models:
            asked = [await _asked(model.side, one) for one in steps]
            operations = [Operation(*one) for one in zip(ascii_uppercase, asked, answers, strict=False)]
            try:
                explained += await in_some_order(model, operations, holds)
            except RequirementViolated as error:
                broken.append(error)
        if not explained:
            raise broken[0]
        return explained if len(explained) == 1 else await _distinct(explained)

    async def _compare_and_learn(self) -> None:
        tested = await self.tested.look()
        looks = [await model.side.look() for model in self._models]
        # Against the model that differs least, so that a report shows the fault and not all that follows from it.
        nearest = min(looks, key=lambda look: sum(look.shown[what] != tested.shown[what] for what in look.shown))
        for what, expected in nearest.shown.items():
            _compare(what, tested.shown[what], expected)
        agreeing = [
            (model, look) for model, look in zip(self._models, looks, strict=True) if look.shown == tested.shown
        ]
        self.tested.learn(tested)
        for model, look in agreeing:
            model.side.learn(look)
        self._models = [model for model, _ in agreeing]


async def _asked(side: RecordedStore, one: CommitStep | PruneStep | int) -> OperationArgument:
    if isinstance(one, PruneStep):
        return Retention(**attrs.asdict(one))
    return PLACES[one] if isinstance(one, int) else await side.transition(one)


async def _distinct(models: Sequence[ModelStore]) -> list[ModelStore]:
    return list({await model.fingerprint(): model for model in models}.values())


async def _settled(asked: OperationArgument) -> OperationArgument:
    return asked


def _operation(asked: OperationArgument) -> str:
    match asked:
        case Transition():
            return "commit"
        case Retention():
            return "prune"
        case KeepStep():
            return "declare"
        case int():
            return "redrive"
        case _:
            return "load"


def _compare(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise RequirementViolated(
            f"{what} returns another result than the memory store",
            details=(f"the memory store returned: {shown(expected)}", f"this store returned:       {shown(found)}"),
            requirements=_likely_requirements(what.partition("(")[0], found, expected),
        )


def _likely_requirements(operation: str, found: object, expected: object) -> tuple[Requirement, ...]:
    """Return the few requirements that a difference most likely violates."""
    if operation != "commit":
        return tuple(one for one in requirements.REQUIREMENTS if one.operation == operation)
    if isinstance(found, Fence) and isinstance(expected, Fence):
        return requirements.NEW_FENCE, requirements.PUT_VERSION
    return requirements.COMPARES_FENCE, requirements.MESSAGE_ONCE


def _is_open(found: Result[Any, Any]) -> bool:
    """Whether a result does not say whether the operation happened."""
    return isinstance(found, Failure) and isinstance(found.failure(), OutcomeUnknown)


def _is_refused(found: Result[Any, Any]) -> bool:
    """Whether a result says that nothing was written, such as when the process was dead before the call."""
    return isinstance(found, Failure) and isinstance(found.failure(), StoreUnavailable)


async def _dead(side: RecordedStore, number: int) -> int:
    ids = [one.message_id for one in await side.dead_letters()] or side.seen or [1]
    return ids[number % len(ids)]


async def _found(side: RecordedStore, query: Query) -> list[Instance]:
    return [unnumbered(one) for one in await value(side.store.find(query))]


def killable(harness: StoreHarness) -> KillableHarness:
    """Return the harness if it can kill, or else one that opens its store in a separate process."""
    return harness if isinstance(harness, KillableHarness) else SubprocessHarness(harness)


async def take_steps(harness: StoreHarness, steps: Sequence[Step]) -> LinesRun:
    """Do steps to a store and to the model, compare them after each, and leave nothing.

    Returns:
        Which lines of the store's code ran during the last kill.

    Raises:
        RequirementViolated: the two differ.
    """
    pair = Differential(harness, await harness.open())
    try:
        for step in steps:
            await pair.take(step)
    finally:
        await pair.tested.store.close()
        await harness.discard()
    return pair.ran
