"""The memory store as the model, which can repeat its operations with another ending."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, assert_never

import attrs
from returns.result import Failure, Result, Success

from perdure.stores.contract import Store
from perdure.stores.memory import MemoryBackend
from perdure.stores.values import Retention
from perdure.testing.conformance.examples import FAR_MS
from perdure.testing.conformance.recorded_store import RecordedStore, bare
from perdure.testing.conformance.requirement import answer, value
from perdure.testing.conformance.steps import KEYS, PLACES
from perdure.values.address import Address
from perdure.values.instance import Fence
from perdure.values.message import Consumed, StoredMessage
from perdure.values.transition import Loaded, Transition

Asked: TypeAlias = Transition | Address | Retention | int
"""An operation: commit a transition, load an address, prune, or redrive the message of this id."""


class ModelStore:
    """A memory store that records its operations, so that it can repeat them."""

    def __init__(self, journals: Literal["kept", "none"] = "kept") -> None:
        self._backend = MemoryBackend()
        self._asked: list[Asked] = []
        self.side = RecordedStore(self._backend.open(), journals=journals)

    async def ask(self, asked: Asked) -> Result[Any, Any]:
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
        fences = [_anonymous(known) for known in self.side.fences.values()]
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


def _anonymous(known: list[Fence]) -> list[tuple[int, int]]:
    incarnations = [fence.incarnation for fence in known]
    return [(incarnations.index(fence.incarnation), fence.version) for fence in known]


async def ask(store: Store, asked: Asked) -> Result[Any, Any]:
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
    asked: Asked
    answered: Result[Any, Any] | None
