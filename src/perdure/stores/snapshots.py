"""Rows and journals read from a real store: in pages, and in a file for tests of new code."""

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

PAGE: Final = 500


async def read_journal(
    store: Store, instance: Instance | None, page: int = PAGE
) -> Result[tuple[str, ...], StoreError]:
    """Read the rows of a journal as of a stored row: later ones are left out.

    Args:
        store: the store.
        instance: the stored row; None if there is none.
        page: the rows of one read.

    Returns:
        The rows; fewer than the row counts if the instance has been purged or has begun again since.
    """
    rows: list[str] = []
    if instance is None or store.journal is None:
        return Success(())
    while len(rows) < instance.journal_length:
        limit = min(page, instance.journal_length - len(rows))
        read = await answer_of(store.journal.read(instance.address, instance.incarnation, len(rows), limit))
        if not isinstance(read, Success):
            return Failure(read.failure())
        rows += read.unwrap()
        if len(read.unwrap()) < limit:
            break
    return Success(tuple(rows))


FORMAT: Final = 1
"""The number of the file's format."""

_KEY: Final = "perdure snapshots"

NO_JOURNALS: Final[Mapping[str, Sequence[str]]] = {}


def write_snapshots(rows: Iterable[Instance], journals: Mapping[str, Sequence[str]] = NO_JOURNALS) -> bytes:
    """Return the contents of a file of rows, in readable form.

    Args:
        rows: the rows.
        journals: the journals of some of them, by the printed address.
    """
    document: dict[str, Any] = {_KEY: FORMAT, "rows": [orjson.loads(to_json(row)) for row in rows]}
    if journals:
        document["journals"] = {address: list(bodies) for address, bodies in journals.items()}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"


def read_snapshots(data: bytes, *, what: str) -> tuple[Instance, ...]:
    """Return the rows of a file.

    Args:
        data: its contents.
        what: its name in error messages.

    Raises:
        StoreCorrupt: it is not a file of rows, or has another format.
    """
    try:
        document: Any = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise StoreCorrupt(what, f"it is not JSON: {error}") from error
    if not _is_ours(document):
        raise StoreCorrupt(what, f"it does not begin with {_KEY!r}: {FORMAT}, as the files of `perdure snapshot` do")
    return tuple(from_json(Instance, orjson.dumps(row).decode(), what=what) for row in document["rows"])


def read_journals(data: bytes, *, what: str) -> dict[str, tuple[str, ...]]:
    """Return the journals of a file, by the printed address of their instance.

    Args:
        data: its contents.
        what: its name in error messages.

    Raises:
        StoreCorrupt: it is not a file of rows, or has another format.
    """
    read_snapshots(data, what=what)
    document: dict[str, Any] = orjson.loads(data)
    return {address: tuple(map(str, bodies)) for address, bodies in document.get("journals", {}).items()}


def _is_ours(document: object) -> bool:
    fields: dict[str, object] = document if isinstance(document, dict) else {}  # pyright: ignore[reportUnknownVariableType] - JSON
    return fields.get(_KEY) == FORMAT and isinstance(fields.get("rows"), list)
