"""The store in memory: the reference for every other, and the one for tests."""

from __future__ import annotations

from perdure.stores.memory.opening import Opening, Tables
from perdure.stores.store import Capabilities, Left, Store


class MemoryBackend:
    """The data of a memory store, apart from the stores that are opened over it.

    It stands for the disk: an engine that died is simulated by opening again. The stores of earlier openings then
    answer ``StoreUnavailable``, so that what is left of a dead engine cannot write.

    Args:
        name: what messages call the store.
    """

    __slots__ = ("_epoch", "_name", "_opening", "_tables")

    def __init__(self, *, name: str = "memory://") -> None:
        self._name = name
        self._tables = Tables()
        self._opening = Opening(self._tables)
        self._epoch = 0

    def open(self) -> Store:
        """Open the store over the data there is, and fence every earlier opening.

        Returns:
            A store whose epoch is one more than that of the opening before.
        """
        left: Left = "died" if self._epoch and self._opening.is_open else "closed"
        self._epoch += 1
        self._opening.end(f"it was opened again: epoch {self._epoch} has replaced this one")
        self._opening = opening = Opening(self._tables)
        return Store(
            name=self._name,
            epoch=self._epoch,
            capabilities=Capabilities(ownership="owned", durability="none"),
            load=opening.load,
            commit=opening.commit,
            due=opening.due,
            next_alarm=opening.next_alarm,
            claimed=opening.claimed,
            messages=opening.messages,
            next_message=opening.next_message,
            dead_letters=opening.dead_letters,
            redrive=opening.redrive,
            find=opening.find,
            history=opening.history,
            events=opening.events,
            prune=opening.prune,
            health=opening.health,
            close=opening.close,
            left=left,
        )


def memory_store(*, name: str = "memory://") -> Store:
    """Make an empty store in memory. No operation of it ever waits.

    Args:
        name: what messages call the store.

    Returns:
        A store that passes the conformance suite and keeps nothing once it is dropped.
    """
    return MemoryBackend(name=name).open()
