"""Journals of a real store, as ``perdure snapshot`` writes them."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from perdure.jobs.definition import AnyDefinition, check_definition
from perdure.stores.snapshots import read_journals, read_snapshots
from perdure.values.excerpt import fields_in_line, size_only
from perdure.values.instance import Instance


@attrs.frozen
class RecordedJournal:
    """An instance of a real store with its journal.

    Attributes:
        instance: the instance.
        rows: the rows of its journal.
    """

    __repr__ = fields_in_line

    instance: Instance
    rows: tuple[str, ...] = attrs.field(repr=size_only)


def recorded_journals(definition: AnyDefinition, path: str | os.PathLike[str], /) -> tuple[RecordedJournal, ...]:
    """Read the instances of a job from a file of ``perdure snapshot``.

    Args:
        definition: the job.
        path: the file.

    Raises:
        StoreCorrupt: it is not such a file.
    """
    job, data = check_definition(definition), Path(path).read_bytes()
    journals = read_journals(data, what=str(path))
    return tuple(
        RecordedJournal(row, journals[str(row.address)])
        for row in read_snapshots(data, what=str(path))
        if (row.address.kind, row.address.name) == (job.kind, job.name) and str(row.address) in journals
    )
