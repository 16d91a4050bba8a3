"""The memory store: the reference for every other store, and the one for tests."""

from __future__ import annotations

from perdure.stores.memory.opening import Opening, Tables
from perdure.stores.store import Capabilities, Left, Store


class MemoryBackend:
    """The data of a memory store, separate from the stores that are opened over it.

    It represents the disk: to simulate the restart of a dead engine, open it again. The stores of earlier openings then
    return ``StoreUnavailable``, so that the rest of a dead engine cannot write.

    Args:
        name: the store's name in messages.
    """

    __slots__ = ("_epoch", "_name", "_opening", "_tables")

    def __init__(self, *, name: str = "memory://") -> None:
        self._name = name
        self._tables = Tables()
        self._opening = Opening(self._tables)
        self._epoch = 0

    def open(self) -> Store:
        """Open the store over the existing data, and fence every earlier opening.

        Returns:
            A store whose epoch is one more than that of the previous opening.
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
            left_to=opening.left_to,
            messages_left_to=opening.messages_left_to,
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
            count_messages=opening.count_messages,
            cursor=opening.cursor,
            move_cursor=opening.move_cursor,
            holds=opening.holds,
            set_hold=opening.set_hold,
            due_except=opening.due_except,
            lanes=opening.lanes,
            queued=opening.queued,
            counts=opening.counts,
            journal=opening.journal,
            load_all=opening.load_all,
            commit_all=opening.commit_all,
            left=left,
            waits="never",
        )


def memory_store(*, name: str = "memory://") -> Store:
    """Return an empty memory store. None of its operations waits.

    Args:
        name: the store's name in messages.

    Returns:
        A store that passes the conformance suite. Its data is lost once it is dropped.
    """
    return MemoryBackend(name=name).open()
