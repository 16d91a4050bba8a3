"""The idempotency keys that this process knows, so that most keyed requests are decided without a read of the store.

A request whose key is here is answered from here. Any other is decided as if its key were new, and the store refuses
the commit if it is not: then the engine looks the key up, and decides again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import attrs

from perdure.engine.mailbox.entry import MailboxEntry
from perdure.engine.mailbox.instance_cache import InstanceCache
from perdure.engine.mailbox.instance_cell import InstanceCell
from perdure.runtime.record import Sizes
from perdure.values.transition import Loaded, Remembered

MOST_NEW = 0.9
"""The part of keyed requests that must bring a new key, so that they are decided before their keys are looked up.

A commit that is refused because of a known key costs more than a read, and its group is written one by one.
"""


@attrs.define
class KnownKeys:
    """Keeps the keys that commits of this process have stored, at their instances.

    Attributes:
        cache: knows whether other engines may store keys, too.
        max_keys: how many keys an address may hold.
    """

    cache: InstanceCache
    max_keys: int
    _kept: deque[tuple[dict[str, Remembered], str]] = attrs.Factory(deque[tuple[dict[str, Remembered], str]])
    _new: float = 1.0  # the part of keyed requests whose key was new, lately
    _sizes: Sizes = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._sizes = self.cache.sizes

    def may_skip(self, cell: InstanceCell, entry: MailboxEntry) -> bool:
        """Return whether a keyed request may be decided before its key is looked up in the store."""
        # After a conflict the key may be a known one: decided again as a new one, it would conflict for ever.
        if cell.keys_held is None or entry.conflicts or not self.cache.may_use_rows or self._new < MOST_NEW:
            return False
        pending = 0 if cell.pending is None else len(cell.pending.transition.remember)
        return cell.keys_held + pending < self.max_keys

    def find(self, cell: InstanceCell, key: str, now_ms: int) -> Remembered | None:
        """Return the result of a key that is here and has not expired."""
        known = None if cell.pending is None else cell.pending.remembered(key)
        if known is None and cell.keys is not None:
            known = cell.keys.get(key)
        return known if known is not None and now_ms < known.expires_ms else None

    def looked_up(self, cell: InstanceCell, loaded: Loaded) -> None:
        """Note the result of a look at a key in the store, and how many keys its address holds."""
        # A run in progress may store one more.
        cell.keys_held = loaded.keys_held + len(cell.running)
        self._note(1.0 if loaded.remembered is None else 0.0)

    def stored(self, cell: InstanceCell, remembered: Sequence[Remembered]) -> None:
        """Keep the keys that a durable commit has stored."""
        if cell.keys_held is not None:
            cell.keys_held += len(remembered)
        if not self.cache.max_bytes or not self.cache.may_use_rows:
            return
        if cell.keys is None:
            cell.keys = {}
        for one in remembered:
            self._note(1.0)
            self._keep(cell.keys, one)
        while len(self._kept) > self._sizes.known_keys:
            keys, key = self._kept.popleft()
            keys.pop(key, None)

    def _keep(self, keys: dict[str, Remembered], remembered: Remembered) -> None:
        keys.pop(remembered.key, None)
        if len(remembered.answer) > self._sizes.known_answer:
            return
        keys[remembered.key] = remembered
        self._kept.append((keys, remembered.key))
        # The store has emptied the answers of older ones, and a repeat must not depend on this memory.
        if len(keys) > remembered.full_answers:
            del keys[next(iter(keys))]

    def _note(self, new: float) -> None:
        self._new += (new - self._new) / self._sizes.lately
