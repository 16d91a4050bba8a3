"""``perdure snapshot``: rows of a real store as a file, for `perdure.testing.check_migrations`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from perdure.cli.app_loader import import_app, records_of
from perdure.cli.check import tables
from perdure.cli.check.row_reader import RowReader, rows_from_outside
from perdure.cli.exit_code import ExitCode
from perdure.cli.snapshot.choice import chosen_rows
from perdure.cli.snapshot.redaction import Redaction
from perdure.cli.standard_output import write_lines
from perdure.cli.store_option import StoreOption
from perdure.cli.usage_error import UsageError
from perdure.kinds.workflow.journal import row_of
from perdure.stores.encryption.records import RecordCipher
from perdure.stores.postgres.settings import shown_url
from perdure.stores.snapshots import write_snapshots
from perdure.stores.sqlite.files import open_private
from perdure.values.errors import DefinitionError, InvalidInput, StoreError
from perdure.values.instance import Instance
from perdure.values.secret import why_unreadable

MAX_EACH = 10_000

SUBSTRING_FROM = 4
"""The length of ids that are searched within words."""


def snapshot(
    *,
    store: StoreOption,
    output: Path,
    job: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    each: int = 10,
    redact: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    app: Annotated[str | None, Parameter(env_var="PERDURE_APP")] = None,
) -> int:
    """Write some rows of a store to a file, for tests of new code.

    The file contains up to ``--each`` rows of every job, version of its state and status, with their journals. Ids are
    replaced by numbers, except those of workflows that name steps after them, such as their children; messages and
    tracebacks of errors, run ids and idempotency keys are removed. States are written unchanged, except for the
    redacted fields and, with ``--app``, the values that its definitions mark as secret: a journal that has such values
    is left out. Like `perdure check`, the command reads the store without a lock, also while an engine owns it.

    Exit code: 0 the file is written, 2 it cannot be.

    Parameters
    ----------
    store
        The store, such as sqlite:///jobs.db or postgresql://user@host/database.
    output
        The file to write. It must not exist.
    job
        Include this job only, written kind:name. May be repeated.
    each
        The maximum number of rows of each job, version and status, 1 to 10,000.
    redact
        The name of a field of a state, an event or an error, at any depth: each character of a text below it is
            replaced by an x. May be repeated.
    app
        The app, written MODULE:APP, whose keys decrypt the store, and whose definitions mark secrets. A secret is
            replaced by a fixed value of the same kind, such as 0 or xxxxxxxx.
    """
    if not 1 <= each <= MAX_EACH:
        raise UsageError(f"--each {each}: expected a number from 1 to {MAX_EACH}")
    redaction, records = Redaction(frozenset(redact)), None
    if app is not None:
        code = import_app(app)
        redaction, records = Redaction(frozenset(redact), code.served), records_of(code)
    try:
        with rows_from_outside(store) as reader:
            chosen = [_decrypted(row, records) for row in chosen_rows(reader, frozenset(job), each)]
            bodies = [_journal(reader, row, records) for row in chosen]
        rows = [redaction.row(row, id_) for row, id_ in zip(chosen, _ids(chosen, bodies), strict=True)]
        shown = [redaction.journal(row, found) for row, found in zip(chosen, bodies, strict=True)]
        journals = {str(row.address): each for row, each in zip(rows, shown, strict=True) if each is not None}
        if not rows:
            of = f" of {', '.join(job)}" if job else ""
            raise UsageError(f"{shown_url(store)} contains no instance{of}; nothing is written")
        with os.fdopen(open_private(output, os.O_WRONLY | os.O_EXCL), "wb") as file:
            file.write(write_snapshots(rows, journals))
    except (DefinitionError, StoreError) as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error}") from error
    write_lines([f"{output}: {len(rows)} {'row' if len(rows) == 1 else 'rows'}"])
    return ExitCode.DONE


def _ids(rows: Sequence[Instance], bodies: Sequence[tuple[str, ...] | None]) -> Iterator[str]:
    """Yield the ids in the file: numbers, but for a journal whose steps have names with the id, so that it replays."""
    kept = [
        row.address.id if _names(row.address.id, journal or ()) else None
        for row, journal in zip(rows, bodies, strict=True)
    ]
    numbers = (number for number in map(str, count(1)) if number not in kept)
    return (next(numbers) if id_ is None else id_ for id_ in kept)


def _names(id_: str, journal: Sequence[str]) -> bool:
    """Return whether the name of a step contains an id; a short id must be a whole word: many words contain ``o``."""
    pattern = re.compile(re.escape(id_) if len(id_) >= SUBSTRING_FROM else rf"(?<!\w){re.escape(id_)}(?!\w)")
    return any(pattern.search(_name(body)) for body in journal)


def _name(body: str) -> str:
    try:
        return row_of(body).name
    except InvalidInput:  # a row of a kind of your own, or of another version
        return ""


def _journal(reader: RowReader, row: Instance, records: RecordCipher | None) -> tuple[str, ...] | None:
    """Read the journal of a row; None if it has none, or changed meanwhile."""
    found = tables.journal(reader, row) if row.journal_length else None
    if found is None or records is None:
        return found
    return records.journal(found, str(row.address), 0)


def _decrypted(row: Instance, records: RecordCipher | None) -> Instance:
    """Decrypt a row.

    Raises:
        UsageError: it is encrypted, and the app does not have its key.
    """
    found = row if records is None else records.instance(row)
    for text in (found.state, found.data):
        problem = why_unreadable(text)
        if problem is not None:
            raise UsageError(f"{row.address}: {problem}; name the app that has the keys: --app MODULE:APP")
    return found
