"""The warning at the start of an engine whose keys do not fit the store."""

from __future__ import annotations

from collections import Counter
from typing import Final

from returns.result import Result, Success

from perdure.programs.future import answer_of
from perdure.runtime.record import LogRecord
from perdure.stores.encryption.keys import Encryption
from perdure.stores.store import Query, Store
from perdure.values.errors import StoreError
from perdure.values.instance import Instance
from perdure.values.secret import key_of

SAMPLE: Final = 50
"""How many instances are read, the first ones by address."""

PLAIN: Final = "plain"
"""The count of the instances that are not encrypted. Keys are counted as ``key:`` and their id."""


async def key_warning(store: Store, encryption: Encryption | None) -> LogRecord | None:
    """Read some instances, and return a warning if the app cannot read them, or would add plain text to them.

    Args:
        store: the store itself, which does not decrypt.
        encryption: that of the app.

    Returns:
        The warning with the counts of the sample; None if all fits, if the store is empty, or if it failed.
    """
    found: Result[tuple[Instance, ...], StoreError] = await answer_of(store.find(Query(limit=SAMPLE)))
    if not isinstance(found, Success):
        return None
    texts = [text for each in found.unwrap() if (text := each.state or each.data)]
    keys = [key_of(text) for text in texts]
    problem = _problem(frozenset(keys), encryption)
    if problem is None:
        return None
    counts = Counter(PLAIN if key is None else f"key:{key}" for key in keys)
    message, fix = problem
    return LogRecord("warning", message, {"store": store.name, "sampled": len(keys), **counts, "fix": fix})


def _problem(keys: frozenset[str | None], encryption: Encryption | None) -> tuple[str, str] | None:
    if encryption is None:
        if keys <= {None}:
            return None
        fix = (
            "pass the keys, App(services, encryption=...); this engine parks encrypted instances and writes plain text"
        )
        return "the store is encrypted and the app has no keys", fix
    missing = keys - {None, encryption.primary.id, *(key.id for key in encryption.older)}
    if missing:
        fix = "add the missing keys to the app as older keys; instances without their key are parked"
        return "the app lacks keys of the store", fix
    if None in keys and encryption.plain == "refused":
        fix = "to encrypt an existing store, pass plain='accepted'; plain instances are parked"
        return "the store has plain text, which the app refuses", fix
    return None
