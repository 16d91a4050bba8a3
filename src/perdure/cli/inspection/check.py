"""``perdure check``: whether new code can decode the stored data, before you deploy it.

`RowCheck` checks one stored row at a time, and is pure. ``perdure check --deploy`` compares types instead of rows: see
`perdure.cli.inspection.deploy`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import attrs
import orjson
from cyclopts import Parameter

from perdure.app import App
from perdure.cli import stored_rows
from perdure.cli.app_loader import import_app, imported_code, records_of
from perdure.cli.inspection import row_scan
from perdure.cli.inspection.deploy import ORDERS, changes, order_of, read_types, text_of, types_of
from perdure.cli.inspection.report import CheckReport, Finding, Progress, Topic, finding_at, json_of, lines_of
from perdure.cli.inspection.row_scan import scan
from perdure.cli.options import AppArgument, StoreIfAny
from perdure.cli.output import Table, write_table
from perdure.cli.process import ExitCode, UsageError, write_lines
from perdure.cli.progress import line_on_stderr
from perdure.cli.stored_rows import RememberedAnswer, StoredInstance, rows_from_outside
from perdure.codecs import fingerprint
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.suspension import check_readable
from perdure.stores.encryption.records import RecordCipher
from perdure.stores.postgres.settings import shown_url
from perdure.values.errors import DefinitionError, InvalidInput, StoreCorrupt, StoreError, UnknownAction
from perdure.values.instance import Instance
from perdure.values.message import StoredMessage


@attrs.frozen
class RowCheck:
    """Checks rows against the definitions that are about to be deployed.

    Attributes:
        served: the definitions, by kind and name.
        records: decrypts rows; None if the app does not encrypt.
        journal: reads the journal of an instance, or None if it changed meanwhile; None: journals are not checked.
    """

    served: Mapping[tuple[str, str], AnyDefinition]
    records: RecordCipher | None = None
    journal: Callable[[Instance], tuple[str, ...] | None] | None = None

    # ------------------------------------------------------------ instances
    def instance(self, row: StoredInstance) -> Iterator[Finding]:
        """Return the findings about an instance."""
        at, found = row.address, row.instance
        yield from row_scan.check_instance(row)
        if isinstance(found, StoreCorrupt):
            return
        found = found if self.records is None else self.records.instance(found)
        job = self.served.get((at.kind, at.name))
        if job is None:
            yield finding_at(Topic.NOT_SERVED, at, "the app has no such job: its alarms do not fire, its messages wait")
            return
        try:
            present = check_readable(job, found)
        except InvalidInput as problem:
            yield finding_at(Topic.UNREADABLE, at, "; ".join(problem.problems))
            return
        try:
            self._check_journal(job, present)
        except InvalidInput as problem:
            yield finding_at(Topic.DIVERGES, at, "; ".join(problem.problems))
            return
        except StoreCorrupt as damage:
            yield finding_at(Topic.DAMAGED, at, damage.reason)
            return
        yield from _readable(job, found, present)

    def _check_journal(self, job: AnyDefinition, instance: Instance) -> None:
        rows = None if job.keeps_journal == "no" or self.journal is None else self.journal(instance)
        if rows is not None:
            at = str(instance.address)
            job.check_journal(instance, rows if self.records is None else self.records.journal(rows, at, 0))

    # ------------------------------------------------------------ messages and keys
    def message(self, row: StoredMessage | StoreCorrupt, topic: Topic) -> Iterator[Finding]:
        """Return the findings about a message: can its target decode it?"""
        if isinstance(row, StoreCorrupt):
            yield from row_scan.check_message(row)
            return
        row = row if self.records is None else self.records.message(row)
        target, example = row.message.target, f"message {row.message_id} to {row.message.target}"
        job = self.served.get((target.kind, target.name))
        if job is None:
            waiting = Topic.WAITING if topic is Topic.MESSAGE else topic
            yield attrs.evolve(finding_at(waiting, target, "the app has no such job"), example=example)
            return
        try:
            job.parse(row.message.action, row.message.payload)
        except InvalidInput as problem:
            reason = f"{row.message.action}: {'; '.join(problem.problems)}"
            yield attrs.evolve(finding_at(topic, target, reason), example=example)
        except UnknownAction as problem:
            yield attrs.evolve(finding_at(topic, target, str(problem)), example=example)

    def answer(self, row: RememberedAnswer) -> Iterator[Finding]:
        """Return the findings about the stored answer of a key: can it be returned again?"""
        yield from row_scan.check_answer(row)
        at = row.address
        if isinstance(at, StoreCorrupt):
            return
        job = self.served.get((at.kind, at.name))
        if job is None:
            return  # no caller can use the key, and it expires
        answer = row.answer
        if self.records is not None:
            answer = self.records.answer(answer, str(at), row.key, row.action)
        try:
            job.plan.answers.open(answer.encode())
        except InvalidInput as problem:
            reason = f"{row.action}: {'; '.join(problem.problems)}"
            yield attrs.evolve(finding_at(Topic.ANSWER, at, reason), example=f"key {row.key!r} of {at}")


def _readable(job: AnyDefinition, instance: Instance, present: Instance) -> Iterator[Finding]:
    """Return the findings about an instance that this code can decode."""
    at = instance.address
    if instance.state_version != present.state_version:
        reason = f"version {instance.state_version} is read as version {present.state_version}"
        yield finding_at(Topic.OLDER, at, reason)
    elif _is_reshaped(job, instance):
        reason = "its type changed without a new version: the next commit writes it in the new form"
        yield finding_at(Topic.RESHAPED, at, reason)
    if instance.left is not None:
        yield finding_at(Topic.RESUMES, at, "other code left it, and this code can read it")
    stale = job.stale_alarm(present)
    if stale is not None:
        yield finding_at(Topic.ALARM, at, stale)
    yield from _errors(job, present)


def _is_reshaped(job: AnyDefinition, instance: Instance) -> bool:
    codec = job.plan.state
    pairs: list[tuple[str, str]] = []

    def written_again(encoded: str) -> str:
        opened = codec.open(encoded.encode())
        pairs.append((encoded, codec.close(opened.value, opened)[0].decode()))
        return encoded

    job.map_states(instance, written_again)
    return any(before != after and _names_differ(before, after) for before, after in pairs)


def _names_differ(before: str, after: str) -> bool:
    return fingerprint(before.encode()) != fingerprint(after.encode())


def _errors(job: AnyDefinition, instance: Instance) -> Iterator[Finding]:
    """Return the stored errors that would be shown by name and text only."""
    codec, pending_retry = job.plan.errors, instance.pending_retry
    records = {
        record for record in (instance.last_error, None if pending_retry is None else pending_retry.error) if record
    }
    for record in records:
        if record.data is None or codec is None:
            continue
        try:
            codec.open(record.data.encode())
        except InvalidInput as problem:
            yield finding_at(Topic.ERROR, instance.address, "; ".join(problem.problems))


def check(
    app: AppArgument,
    *,
    store: StoreIfAny = None,
    deploy: Path | None = None,
    unserved: Literal["problem", "note"] = "problem",
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Report stored data that the code of an app cannot decode, or with `--deploy` its changes since a version.

    Run it with the new code before you deploy it.

    It reads every instance, undelivered message, claim and idempotency key, and replays every workflow. It runs beside
    an engine that owns the store or without one, takes no lock and writes nothing. It prints the files of the code that
    it imported: a folder in PYTHONPATH comes before the current one.

    With --deploy it reads no store, and prints each change of a type or a job since the version of the app whose
    definitions are in the file, and whether it needs a version or an order of the deploy.

    Exit code: 0 the code can decode everything, or no change needs a version, 1 there are problems, 2 the check cannot
    start.

    Parameters
    ----------
    store
        Where instances live: sqlite:///jobs.db, or postgresql://user@host/database.
    deploy
        A file with the output of perdure definitions of the deployed version.
    unserved
        Whether instances of jobs that the app does not serve, and messages to them, are a problem.
    json
        Print one JSON object instead of text.
    """
    if deploy is not None:
        return _deploy(import_app(app), deploy, json=json)
    if store is None:
        raise UsageError(
            "name a store, --store sqlite:///jobs.db, or a file to compare with, --deploy definitions.json"
        )
    before = set(sys.modules)
    code = import_app(app)
    files = imported_code(app, before)
    accepted = frozenset({Topic.NOT_SERVED, Topic.WAITING}) if unserved == "note" else frozenset[Topic]()
    report = _report(store, RowCheck(code.served, records_of(code)))
    if json:
        data = {"code": files} | json_of(report, shown_url(store), accepted)
        sys.stdout.write(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        write_lines([*(f"code: {name} from {file}" for name, file in files.items()), ""])
        write_lines(lines_of(report, shown_url(store), accepted))
    return ExitCode.FAILED if report.problems(accepted) else ExitCode.DONE


def definitions(app: AppArgument) -> int:
    """Print the types of an app's jobs, which `perdure check --deploy` compares with those of a later version.

    Equal definitions print equal text: commit it, or keep it beside each release.

    Exit code: 0 done, 2 the app cannot be imported.
    """
    write_lines(text_of(types_of(import_app(app).served.values())).splitlines())
    return ExitCode.DONE


def _deploy(code: App[Any], deployed: Path, *, json: bool) -> int:
    rows = changes(read_types(deployed), types_of(code.served.values()))
    if json:
        data = {"changes": [attrs.asdict(row) for row in rows], "order": order_of(rows)}
        sys.stdout.write(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        if rows:
            cells = tuple((row.effect, row.job, row.place, row.reason) for row in rows)
            write_table(Table(("CHANGE", "JOB", "PLACE", "REASON"), cells, frozenset({"REASON"})))
        write_lines([*([""] if rows else []), ORDERS[order_of(rows)]])
    return ExitCode.FAILED if order_of(rows) == "needs a version" else ExitCode.DONE


def _report(store: str, judge: RowCheck) -> CheckReport:
    line = line_on_stderr()
    try:
        with rows_from_outside(store) as reader:
            judge = attrs.evolve(judge, journal=partial(stored_rows.journal, reader))
            return scan(reader, judge, now_ms=time.time_ns() // 1_000_000, progress=Progress(line).show)
    except (DefinitionError, StoreError) as error:
        raise UsageError(str(error)) from error
    finally:
        line.clear()
