"""Two stores that must agree: the one under test, and the memory store as its model."""

from __future__ import annotations

from typing import Any, assert_never

import attrs
from returns.result import Failure, Result, Success

from perdure.stores.memory import MemoryBackend
from perdure.stores.store import LoggedEvent, Query, Retention, Store
from perdure.testing.conformance.place import Place
from perdure.testing.conformance.promise import answer, holds, same, value
from perdure.testing.conformance.samples import ERROR, message, started
from perdure.testing.conformance.steps import KEYS, PLACES, Commit, Find, Inbound, Prune, Redrive, Reopen, Step
from perdure.values.address import Address
from perdure.values.instance import Fence, Instance
from perdure.values.message import Consumed, DeadLettered, MessageFate, Postponed, StoredMessage
from perdure.values.transition import Keep, Purge, Put, Transition, Write

_INSTANTS = (-1, 0, 4, 10, 20)
_ALL = 1_000


@attrs.define
class Side:
    """One of the two stores, with what was seen in it. The two sides see the same things under their own numbers.

    Attributes:
        store: the store.
        fences: the fences that commits answered, for each address, the newest last.
        seen: the ids of messages that were seen, in the order in which they were first seen.
    """

    store: Store
    fences: dict[Address, list[Fence]] = attrs.Factory(lambda: {at: [] for at in PLACES})
    seen: list[int] = attrs.Factory(list[int])

    async def transition(self, step: Commit) -> Transition:
        """Make the transition of a step, with this side's fences and ids."""
        at = PLACES[step.at]
        return Transition(
            address=at,
            expected=await self._fence(step, at),
            write=_write(step, at),
            remember=step.remember,
            messages=tuple(message(at, PLACES[target], str(target)) for target in step.targets),
            inbound=None if step.inbound is None else await self._fate(step.inbound),
            events=tuple(started(at, at_ms=at_ms) for at_ms in step.event_ms),
        )

    def note(self, step: Commit, found: Result[Fence, Any]) -> None:
        """Remember the fence that a commit answered."""
        match found:
            case Success(Fence(incarnation, _) as fence) if incarnation > 0:
                self.fences[PLACES[step.at]].append(fence)
            case _:
                pass

    async def messages(self, now_ms: int) -> list[StoredMessage]:
        """Give what may be delivered, and take note of it."""
        found = list(await value(self.store.messages(now_ms, _ALL)))
        ids = [one.message_id for one in found]
        holds(ids == sorted(set(ids)), f"messages gives the oldest first: {ids}")
        self.seen += [id_ for id_ in ids if id_ not in self.seen]
        return found

    async def dead_letters(self) -> list[StoredMessage]:
        """Give the dead letters."""
        return list(await value(self.store.dead_letters(0, _ALL)))

    async def _fence(self, step: Commit, at: Address) -> Fence | None:
        known = self.fences[at]
        match step.fence:
            case "right":
                stored = (await value(self.store.load(at))).instance
                return None if stored is None else stored.fence
            case "old":
                return known[len(known) // 2] if known else None
            case "none":
                return None
            case "foreign":
                others = self.fences[PLACES[step.at - 1]]
                return others[-1] if others else None
            case _:
                assert_never(step.fence)

    async def _fate(self, inbound: Inbound) -> MessageFate | None:
        deliverable = [one.message_id for one in await self.messages(_INSTANTS[-1])]
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


class Pair:
    """Does every step to both sides and compares everything that can be seen."""

    def __init__(self, place: Place, store: Store) -> None:
        self._place = place
        self._backend = MemoryBackend()
        self.tested = Side(store)
        self._model = Side(self._backend.open())

    async def take(self, step: Step) -> None:
        """Do one step.

        Raises:
            BrokenPromise: the stores differ.
        """
        match step:
            case Commit():
                await self._commit(step)
            case Redrive(number):
                await self._redrive(number)
            case Prune():
                await self._prune(step)
            case Reopen():
                await self._reopen()
            case Find(query):
                await self._compare(
                    "find", *[[_bare(one) for one in await _found(side, query)] for side in self._sides]
                )
            case _:
                assert_never(step)
        await self._compare_all()

    @property
    def _sides(self) -> tuple[Side, Side]:
        return self.tested, self._model

    async def _commit(self, step: Commit) -> None:
        kinds: list[object] = []
        for side in self._sides:
            found = await answer(side.store.commit(await side.transition(step)))
            side.note(step, found)
            kinds.append(_kind(found))
        await self._compare(f"commit of {step}", *kinds)

    async def _redrive(self, number: int) -> None:
        answers: list[object] = []
        for side in self._sides:
            ids = [one.message_id for one in await side.dead_letters()] or side.seen or [1]
            answers.append(await value(side.store.redrive(ids[number % len(ids)])))
        await self._compare("redrive", *answers)

    async def _prune(self, step: Prune) -> None:
        retention = Retention(**attrs.asdict(step))
        await self._compare("prune", *[await value(side.store.prune(retention)) for side in self._sides])

    async def _reopen(self) -> None:
        await value(self.tested.store.close())
        self.tested.store = await self._place.open()
        self._model.store = self._backend.open()

    async def _compare_all(self) -> None:
        tested, model = [await _everything(side) for side in self._sides]
        for what, expected in model.items():
            same(tested[what], expected, f"{what} is as in the memory store")

    async def _compare(self, what: str, tested: object, model: object) -> None:
        same(tested, model, f"{what} is answered as by the memory store")


async def _everything(side: Side) -> dict[str, object]:
    store = side.store
    seen: dict[str, object] = {"dead letters": [_unnumbered(one) for one in await side.dead_letters()]}
    for at in PLACES:
        for now_ms in (0, 10):
            for key in KEYS:
                loaded = await value(store.load(at, key, now_ms))
                instance = None if loaded.instance is None else _bare(loaded.instance)
                seen[f"load {at} with {key} at {now_ms}"] = (instance, loaded.remembered, loaded.keys_held)
        seen[f"history of {at}"] = _events(await value(store.history(at, None, _ALL)))
    for instant_ms in _INSTANTS:
        seen[f"due at {instant_ms}"] = [_bare(one) for one in await value(store.due(instant_ms, _ALL))]
        seen[f"next alarm after {instant_ms}"] = await value(store.next_alarm(instant_ms))
        seen[f"messages at {instant_ms}"] = [_unnumbered(one) for one in await side.messages(instant_ms)]
        seen[f"next message after {instant_ms}"] = await value(store.next_message(instant_ms))
    seen["claims"] = [_bare(one) for one in await value(store.claimed(0, _ALL))]
    seen["events"] = _events(await value(store.events(0, _ALL)))
    return seen


async def _found(side: Side, query: Query) -> tuple[Instance, ...]:
    return await value(side.store.find(query))


def _write(step: Commit, at: Address) -> Write:
    match step.write:
        case "put":
            return Put(attrs.evolve(step.instance, address=at))
        case "purge":
            return Purge()
        case "retire":
            return Purge(own_messages="kept")
        case "keep":
            return Keep()
        case _:
            assert_never(step.write)


def _kind(found: Result[Fence, Any]) -> object:
    match found:
        case Success(Fence(incarnation, version)):
            return "committed", incarnation > 0, version
        case Failure(error):
            return type(error).__name__, str(error)
        case _:
            return found


def _bare(instance: Instance) -> Instance:
    return attrs.evolve(instance, incarnation=1)  # each store numbers its own


def _unnumbered(stored: StoredMessage) -> StoredMessage:
    return attrs.evolve(stored, message_id=0)


def _events(logged: tuple[LoggedEvent, ...]) -> list[object]:
    return [one.event for one in logged]
