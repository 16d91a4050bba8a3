"""The choice of rows of a large store for a small file: some of every kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from perdure.cli.check import tables
from perdure.cli.check.row_reader import RowReader
from perdure.values.address import Address
from perdure.values.errors import StoreCorrupt
from perdure.values.instance import Instance


def chosen_rows(reader: RowReader, jobs: frozenset[str], each: int) -> Iterator[Instance]:
    """Yield up to ``each`` rows of every job, version of its state and status, in the order of their creation.

    Args:
        reader: the store.
        jobs: of these jobs only, printed ``kind:name``; of all jobs, if empty.
        each: the maximum number of rows of each.
    """
    taken: Counter[tuple[str, int, str]] = Counter()
    for page in tables.instances(reader):
        for row in page:
            if isinstance(row.instance, StoreCorrupt) or not _is_asked_for(row.address, jobs):
                continue
            sort = (_job(row.address), row.instance.state_version, row.instance.status)
            if taken[sort] < each:
                taken[sort] += 1
                yield row.instance


def _is_asked_for(address: Address, jobs: frozenset[str]) -> bool:
    return not jobs or _job(address) in jobs


def _job(address: Address) -> str:
    return f"{address.kind}:{address.name}"
