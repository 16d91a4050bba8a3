"""``perdure snapshot`` and ``perdure histories``: write parts of a real store to files for tests.

A snapshot has some rows for every job, state version and status, for `perdure.testing.check_migrations`. Histories are
prefixes for a `JobMachine`. Both remove personal data before they write.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# JSON passes here unchanged, and narrowing it by its class leaves the types of its contents unknown.

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Annotated, Final

import attrs
import orjson
from cyclopts import Parameter

from perdure.cli.app_loader import import_app, records_of
from perdure.cli.inspection.report import probed
from perdure.cli.options import AppArgument, StoreOption
from perdure.cli.process import ExitCode, UsageError, write_lines
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.parts import parts_in
from perdure.jobs.redaction import redacted_instance
from perdure.kinds.workflow.journal import row_of
from perdure.stores import at_rest
from perdure.stores.at_rest import StoreReader
from perdure.stores.encryption.sealed_store import RecordCipher
from perdure.stores.postgres.settings import shown_url
from perdure.stores.snapshots import write_snapshots
from perdure.stores.sqlite.files import open_private
from perdure.values.address import Address
from perdure.values.errors import DefinitionError, InvalidInput, StoreCorrupt
from perdure.values.excerpt import REFERENCE
from perdure.values.instance import Claim, Instance
from perdure.values.secret import why_unreadable
from perdure.values.status import FailureRecord


def chosen_rows(reader: StoreReader, jobs: frozenset[str], each: int) -> Iterator[Instance]:
    """Yield up to ``each`` rows for every job, state version and status, in creation order.

    Args:
        reader: the store.
        jobs: only these jobs, printed ``kind:name``. All jobs if empty.
        each: the most rows for each.
    """
    taken: Counter[tuple[str, int, str]] = Counter()
    for page in at_rest.instances(reader):
        for row in page:
            if isinstance(row.instance, StoreCorrupt) or not _is_asked_for(row.address, jobs):
                continue
            sort = (_job(row.address), row.instance.state_version, row.instance.status)
            # The first ones, which are the oldest: they hold the forms that old code wrote.
            if taken[sort] < each:
                taken[sort] += 1
                yield row.instance


def _is_asked_for(address: Address, jobs: frozenset[str]) -> bool:
    return not jobs or _job(address) in jobs


def _job(address: Address) -> str:
    return f"{address.kind}:{address.name}"


BLANK: Final = "x"

_FORMS: Final = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "00000000-0000-0000-0000-000000000000"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "2000-01-01"),
    (re.compile(r"\d{4}-\d\d-\d\dT\S+"), "2000-01-01T00:00:00+00:00"),
    (re.compile(r"-?PT[\d.]+S"), "PT0S"),
    (re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?"), "0"),
)
"""The texts of UUIDs, dates, instants, durations and numbers, each with the value that replaces it."""


@attrs.frozen
class Redaction:
    """Removes personal data. The JSON structure is unchanged, so that code can read it.

    Numbers replace the id and a sender's id. Error messages, tracebacks, run ids, trace contexts and idempotency keys
    are removed. In states, events and typed errors only the fields in ``keys`` are redacted.

    Attributes:
        keys: field names, at any depth: an ``x`` replaces each character in the texts below them.
        served: the definitions whose marked secrets are replaced too, by kind and name.
    """

    keys: Collection[str]
    served: Mapping[tuple[str, str], AnyDefinition] = attrs.Factory(dict[tuple[str, str], AnyDefinition])

    def row(self, instance: Instance, id_: str) -> Instance:
        """Redact a row.

        Args:
            instance: the stored instance.
            id_: the id that replaces its id.
        """
        job = self.served.get((instance.address.kind, instance.address.name))
        if job is not None:
            instance = redacted_instance(job, instance, hide=_fixed)
        pending_retry = instance.pending_retry
        return attrs.evolve(
            instance,
            address=attrs.evolve(instance.address, id=id_),
            state=self._json(instance.state),
            data=self._json(instance.data),
            pending_retry=None
            if pending_retry is None
            else attrs.evolve(pending_retry, run_id="run", trace=None, error=self._error(pending_retry.error)),
            claim=self._claim(instance.claim),
            event_claim=self._claim(instance.event_claim),
            last_error=None if instance.last_error is None else self._error(instance.last_error),
            alarm_trace=None,
        )

    def journal(self, instance: Instance, rows: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """Redact a journal. None if there is none, or if its definition knows secrets in it.

        A row is one or more lines, each a JSON value or empty.
        """
        job = self.served.get((instance.address.kind, instance.address.name))
        # The whole journal: without some of its rows a replay would perform steps again.
        if rows is None or (job is not None and job.has_secret_rows(rows)):
            return None
        if self.keys and parts_in(rows):  # a key is not found in a part: it may begin in the one before
            return None
        return tuple("\n".join(map(self._json, row.split("\n"))) for row in rows)

    def _claim(self, claim: Claim | None) -> Claim | None:
        if claim is None:
            return None
        return attrs.evolve(
            claim,
            run_id="run",
            trace=None,
            payload=None if claim.payload is None else self._json(claim.payload),
            key=None if claim.key is None else BLANK,
            # The kind and name stay: they select the type of the payload.
            message_sender=None if claim.message_sender is None else f"{claim.message_sender.rpartition(':')[0]}:1",
        )

    def _error(self, error: FailureRecord) -> FailureRecord:
        data = None if error.data is None else self._json(error.data)
        return attrs.evolve(error, message="", traceback=None, data=data)

    def _json(self, text: str) -> str:
        """Redact the texts below the chosen keys, also in a state inside another text, as in a frozen batch."""
        if not text or not self.keys or text[:1] == REFERENCE:
            return text
        return orjson.dumps(self._below(orjson.loads(text))).decode()

    def _below(self, value: object) -> object:
        match value:
            case dict():
                items: dict[str, object] = value
                return {key: _blanked(each) if key in self.keys else self._below(each) for key, each in items.items()}
            case list():
                return [self._below(each) for each in list[object](value)]
            # Texts may hold JSON, such as the states in a frozen batch: a field in them is redacted, too.
            case str() if value[:1] in ("{", "["):
                return self._nested(value)
            case _:
                return value

    def _nested(self, text: str) -> str:
        try:
            return self._json(text)
        # It only begins like JSON.
        except orjson.JSONDecodeError:
            return text


def _fixed(value: object) -> object:
    """Return a value with the same type that says nothing about the secret, not even its length."""
    match value:
        case str():
            return next((fixed for form, fixed in _FORMS if form.fullmatch(value)), BLANK * 8)
        case bool() | None:
            return value and False
        case int() | float():
            return type(value)(0)
        case dict():
            items: dict[str, object] = value
            # Numbered: two keys that become equal would make one entry.
            return {f"{_fixed(key)}{at}": _fixed(each) for at, (key, each) in enumerate(items.items())}
        case list():
            return [_fixed(each) for each in list[object](value)]
        case _:
            return None


def _blanked(value: object) -> object:
    match value:
        case str():
            # The length stays, so that tests meet texts as long as the real ones.
            return BLANK * len(value)
        case dict():
            items: dict[str, object] = value
            return {key: _blanked(each) for key, each in items.items()}
        case list():
            return [_blanked(each) for each in list[object](value)]
        case _:
            return value


MAX_EACH = 10_000

SUBSTRING_FROM = 4
"""From this length on, ids are searched within words."""


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

    The file contains up to ``--each`` rows for every job, state version and status, with their journals. Numbers
    replace ids, except a workflow's id that its step names contain, such as a child's name. Error messages, tracebacks,
    run ids and idempotency keys are removed. States are written unchanged, except for the redacted fields and, with
    ``--app``, the values that its definitions mark as secret: a journal that has such values is left out. Like `perdure
    check`, the command reads the store without a lock, also while an engine owns it.

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
        The most rows for each job, version and status, 1 to 10,000.
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
    with probed(store) as reader:
        chosen = [_decrypted(row, records) for row in chosen_rows(reader, frozenset(job), each)]
        bodies = [_journal(reader, row, records) for row in chosen]
    rows = [redaction.row(row, id_) for row, id_ in zip(chosen, _ids(chosen, bodies), strict=True)]
    shown = [redaction.journal(row, found) for row, found in zip(chosen, bodies, strict=True)]
    journals = {str(row.address): each for row, each in zip(rows, shown, strict=True) if each is not None}
    if not rows:
        of = f" of {', '.join(job)}" if job else ""
        raise UsageError(f"{shown_url(store)} contains no instance{of}; nothing is written")
    _write(output, write_snapshots(rows, journals))
    write_lines([f"{output}: {len(rows)} {'row' if len(rows) == 1 else 'rows'}"])
    return ExitCode.DONE


def histories(
    app: AppArgument,
    *,
    store: StoreOption,
    output: Path,
    job: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    each: int = 20,
    steps: int = 50,
    keep: Annotated[tuple[str, ...], Parameter(negative="")] = (),
) -> int:
    """Write histories of a store to a file, with which a `JobMachine` begins its examples.

    A history has the requests that an instance accepted, as the event log has them with
    ``accepted_in_events="payload"``, or the start, the signals and the recorded answers of a workflow. Numbered texts
    replace texts, and the file has no ids, secrets, bytes, UUIDs or instants at which something happened. It has
    numbers, truth values, dates in inputs and enumerations: mark those that identify a person as secret. The command
    reads the store without a lock, also while engines use it.

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
        The most histories for each job, 1 to 1,000. Different ones come first.
    steps
        The most steps for each history, 1 to 1,000.
    keep
        The name of a field, such as currency: its texts are kept. May be repeated.
    """
    # Only this command needs the extra with Hypothesis.
    from perdure.rehearsal.past import MOST, read_histories  # noqa: PLC0415

    for option, number in (("--each", each), ("--steps", steps)):
        if not 1 <= number <= MOST:
            raise UsageError(f"{option} {number}: expected a number from 1 to {MOST}")
    code = import_app(app)
    try:
        with probed(store) as reader:
            found = read_histories(
                reader, code, jobs=job, each=each, steps=steps, keep=frozenset(keep), records=records_of(code)
            )
    except DefinitionError as problem:
        raise UsageError(str(problem)) from problem
    if not found.of:
        raise UsageError(
            "; ".join(["the store has no history that can be written; nothing is written", *found.lines()])
        )
    _write(output, found.to_json())
    write_lines([f"{output}: {len(found.of)} {'history' if len(found.of) == 1 else 'histories'}", *found.lines()])
    return ExitCode.DONE


def _write(output: Path, data: bytes) -> None:
    """Write a new file.

    Raises:
        UsageError: it exists, or cannot be written.
    """
    try:
        # Private and never over an existing file: it holds data of a real store.
        with os.fdopen(open_private(output, os.O_WRONLY | os.O_EXCL), "wb") as file:
            file.write(data)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error}") from error


def _ids(rows: Sequence[Instance], bodies: Sequence[tuple[str, ...] | None]) -> Iterator[str]:
    """Yield the ids in the file: numbers, but for a journal whose steps have names with the id, so that it replays."""
    kept = [
        row.address.id if _names(row.address.id, journal or ()) else None
        for row, journal in zip(rows, bodies, strict=True)
    ]
    numbers = (number for number in map(str, count(1)) if number not in kept)
    return (next(numbers) if id_ is None else id_ for id_ in kept)


def _names(id_: str, journal: Sequence[str]) -> bool:
    """Return whether a step name contains an id. A short id must be a separate word: many words contain ``o``."""
    pattern = re.compile(re.escape(id_) if len(id_) >= SUBSTRING_FROM else rf"(?<!\w){re.escape(id_)}(?!\w)")
    return any(pattern.search(_name(body)) for body in journal)


def _name(body: str) -> str:
    try:
        return row_of(body).name
    except InvalidInput:  # a row of a kind of your own, or of another version
        return ""


def _journal(reader: StoreReader, row: Instance, records: RecordCipher | None) -> tuple[str, ...] | None:
    """Read a row's journal. None if it has none, or changed meanwhile."""
    found = at_rest.journal(reader, row) if row.journal_length else None
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
