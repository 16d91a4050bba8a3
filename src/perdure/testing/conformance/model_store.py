"""The two stores that must agree, each with a record of the fences and ids seen in it.

The model is the memory store, which can repeat its operations with another ending.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, assert_never

import attrs
from returns.result import Failure, Result, Success

from perdure.stores.contract import Store
from perdure.stores.memory import MemoryBackend
from perdure.stores.values import LoggedEvent, Retention
from perdure.testing.conformance.assertions import RequirementViolated, answer, value
from perdure.testing.conformance.histories import KEYS, PLACES, CommitStep, InboundStep
from perdure.testing.conformance.requirements import OLDEST_FIRST, QUEUED
from perdure.testing.conformance.sample_values import ERROR, FAR_MS, message, started
from perdure.values.address import Address
from perdure.values.instance import Fence, Instance
from perdure.values.message import Consumed, DeadLettered, MessageFate, Postponed, StoredMessage
from perdure.values.transition import JournalChange, KeepInstance, Loaded, Purge, Put, Transition, Write

INSTANTS = (0, 4, 10, 20)
"""The instants at which the stores are compared."""

ALL = 1_000


@attrs.frozen
class StoreContent:
    """All that can be seen in a store at one moment.

    Attributes:
        shown: the answers, without the numbers that are the store's own.
        fences: of the instances that are stored.
        message_ids: of the messages that may be delivered, in the order in which they were read.
    """

    shown: dict[str, object]
    fences: dict[Address, Fence]
    message_ids: tuple[int, ...]


@attrs.define
class RecordedStore:
    """One of the two stores. The two sides see the same things under their own numbers.

    Attributes:
        store: the store.
        fences: the fences that were learned, for each address, the newest last.
        seen: the ids of messages that were learned, in the order in which they were first seen.
        journals: whether both stores keep journals.

    Both are learned from what the store holds after a step, never from what a commit answered: the answer of a commit
    that survived a kill may be lost, and the two sides must learn the same.
    """

    store: Store
    fences: dict[Address, list[Fence]] = attrs.Factory(lambda: {at: [] for at in PLACES})
    seen: list[int] = attrs.Factory(list[int])
    journals: Literal["kept", "none"] = "kept"

    async def transition(self, step: CommitStep) -> Transition:
        """Make the transition of a step, with this side's fences and ids."""
        at = PLACES[step.at]
        expected = await self._fence(step, at)
        journal = step.journal if step.write == "put" and self.journals == "kept" else None
        return Transition(
            address=at,
            expected=expected,
            write=_write(step, at, await self._length(at, expected, journal)),
            journal=journal,
            remember=step.remember,
            messages=tuple(message(at, PLACES[target], str(target)) for target in step.targets),
            inbound=None if step.inbound is None else await self._fate(step.inbound),
            events=tuple(started(at, at_ms=at_ms) for at_ms in step.event_ms),
        )

    def learn(self, look: StoreContent) -> None:
        """Remember the fences and ids of a look, for later steps."""
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
                    loaded = await value(store.load(at, key, now_ms))
                    seen[f"load({at}, {key}, {now_ms})"] = bare(loaded)
                    if loaded.instance is not None and loaded.instance.fence is not None:
                        fences[at] = loaded.instance.fence
            fence = fences.get(at) or next(reversed(self.fences[at]), Fence(0, 0))  # of a purged one: it must be gone
            if self.journals == "kept" and store.journal is not None:
                seen[f"journal({at})"] = await value(store.journal(at, fence.incarnation, 0, ALL))
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
        lanes, queued = self.store.lanes, self.store.queued
        if lanes is None or queued is None:
            return
        rows = [row for at in PLACES if (row := (await value(self.store.load(at))).instance) is not None]
        expected = [row for row in rows if row.rank_ms is not None]
        expected.sort(key=lambda row: (row.lane or "", row.rank_ms, row.incarnation))
        jobs = sorted({(at.kind, at.name) for at in PLACES})
        names = [(job, await value(lanes(job, None, ALL))) for job in jobs]
        found = [one for job, of_job in names for one in await value(queued(job, of_job, ALL))]
        rows = [row for lane in found for row in lane.instances]
        if rows != expected or not all(lane.instances for lane in found):
            raise RequirementViolated(f"expected {expected} in the lanes, got {found}", requirements=(QUEUED,))

    async def _fence(self, step: CommitStep, at: Address) -> Fence | None:
        known = self.fences[at]
        match step.fence:
            case "right":
                stored = (await value(self.store.load(at))).instance
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
        """Return the length of the journal after a transition: a right one continues from the stored length."""
        stored = None if expected is None else (await value(self.store.load(at))).instance
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
                return Postponed(message_id=message_id, attempts=1, not_before_ms=not_before_ms, error=None)
            case "dead_lettered":
                return DeadLettered(message_id=message_id, attempts=2, error=ERROR)
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


OperationArgument: TypeAlias = Transition | Address | Retention | int
"""An operation: commit a transition, load an address, prune, or redrive the message of this id."""


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
        other = ModelStore(self.side.journals)
        for asked in self._asked:
            await other.ask(asked)
        other.side.fences = {at: list(fences) for at, fences in self.side.fences.items()}
        other.side.seen = list(self.side.seen)
        return other

    async def fingerprint(self) -> str:
        """Return all that the model holds, rows included that no read shows yet: two models alike answer alike."""
        look = await self.side.look()
        keys = [bare(await value(self.side.store.load(at, key, -1))) for at in PLACES for key in KEYS]
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
            return await answer(store.commit(asked))
        case Address():
            return await answer(store.load(asked))
        case Retention():
            return await answer(store.prune(asked))
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
        letter: its name in the story.
        asked: the operation, in the numbers of the model.
        answered: the result of the store; None without one.
    """

    letter: str
    asked: OperationArgument
    answered: Result[Any, Any] | None
