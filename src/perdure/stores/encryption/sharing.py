"""The operations of a shared store whose records are encrypted."""

from __future__ import annotations

import attrs
from returns.future import FutureResult

from perdure.programs.future import converted
from perdure.stores.encryption.records import Records
from perdure.stores.sharing.contract import Sharing
from perdure.stores.sharing.share import Share
from perdure.stores.store import DuePosition
from perdure.values.errors import StoreError
from perdure.values.instance import Instance
from perdure.values.message import StoredMessage
from perdure.values.turn_inputs import OtherEngines


def encrypted_sharing(sharing: Sharing, records: Records) -> Sharing:
    """Return operations that decrypt what they read.

    Args:
        sharing: the operations of the store that keeps the ciphertexts.
        records: decrypts them.
    """
    operations = _Operations(sharing, records)
    return attrs.evolve(sharing, due=operations.due, messages=operations.messages, abandoned=operations.abandoned)


@attrs.frozen
class _Operations:
    sharing: Sharing
    records: Records

    def due(
        self, now_ms: int, limit: int, share: Share, after: DuePosition | None = None, /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        return converted(self.sharing.due(now_ms, limit, share, after), self.records.instances)

    def messages(
        self, now_ms: int, limit: int, share: Share, others: OtherEngines, old_ms: int, /
    ) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        return converted(self.sharing.messages(now_ms, limit, share, others, old_ms), self.records.messages)

    def abandoned(
        self, after_incarnation: int, limit: int, share: Share, others: OtherEngines, /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        return converted(self.sharing.abandoned(after_incarnation, limit, share, others), self.records.instances)
