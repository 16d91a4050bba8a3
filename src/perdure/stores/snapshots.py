"""Rows and journals read from a real store: in pages, and in a file for testing new code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
from returns.result import Failure, Result, Success

from perdure.programs.future import answer_of
from perdure.stores.contract import Store
from perdure.stores.rows import from_json, to_json
from perdure.values.errors import StoreCorrupt, StoreError
from perdure.values.instance import Instance


async def read_journal(
    store: Store, instance: Instance | None, page: int, first: int = 0
) -> Result[tuple[str, ...], StoreError]:
    """Read the journal that a stored row had: later journal rows are left out.

    Args:
        store: the store.
        instance: the stored row. None if there is none.
        page: how many rows one query reads.
        first: the place of the first row that is read.

    Returns:
        The rows. Fewer than the stored row counts if the instance has been purged or has begun again since.
    """
    rows: list[str] = []
    if instance is None or store.journal is None:
        return Success(())
    # Rows behind the length belong to a later version of the instance.
    while (place := first + len(rows)) < instance.journal_length:
        limit = min(page, instance.journal_length - place)
        read = await answer_of(store.journal.read(instance.address, instance.incarnation, place, limit))
        if not isinstance(read, Success):
            return Failure(read.failure())
        rows += read.unwrap()
        # The instance was purged meanwhile: another read would return nothing for ever.
        if len(read.unwrap()) < limit:
            break
    return Success(tuple(rows))


FORMAT: Final = 1
"""The file's format number."""

_KEY: Final = "perdure snapshots"

NO_JOURNALS: Final[Mapping[str, Sequence[str]]] = {}


def write_snapshots(rows: Iterable[Instance], journals: Mapping[str, Sequence[str]] = NO_JOURNALS) -> bytes:
    """Encode rows as a human-readable file.

    Args:
        rows: the rows.
        journals: journals for some rows, by printed address.
    """
    document: dict[str, Any] = {_KEY: FORMAT, "rows": [orjson.loads(to_json(row)) for row in rows]}
    if journals:
        document["journals"] = {address: list(bodies) for address, bodies in journals.items()}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"


def read_snapshots(data: bytes, *, what: str) -> tuple[Instance, ...]:
    """Decode a file's rows.

    Args:
        data: the file's contents.
        what: the file's name in error messages.

    Raises:
        StoreCorrupt: it is not a snapshot file, or has another format.
    """
    try:
        document: Any = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise StoreCorrupt(what, f"it is not JSON: {error}") from error
    if not _is_ours(document):
        raise StoreCorrupt(what, f"it does not begin with {_KEY!r}: {FORMAT}, as the files of `perdure snapshot` do")
    return tuple(from_json(Instance, orjson.dumps(row).decode(), what=what) for row in document["rows"])


def read_journals(data: bytes, *, what: str) -> dict[str, tuple[str, ...]]:
    """Decode a file's journals, by printed address.

    Args:
        data: the file's contents.
        what: the file's name in error messages.

    Raises:
        StoreCorrupt: it is not a snapshot file, or has another format.
    """
    read_snapshots(data, what=what)
    document: dict[str, Any] = orjson.loads(data)
    return {address: tuple(map(str, bodies)) for address, bodies in document.get("journals", {}).items()}


def _is_ours(document: object) -> bool:
    fields: dict[str, object] = document if isinstance(document, dict) else {}  # pyright: ignore[reportUnknownVariableType] - JSON
    return fields.get(_KEY) == FORMAT and isinstance(fields.get("rows"), list)
