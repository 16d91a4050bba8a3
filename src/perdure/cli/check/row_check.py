"""Checks whether some code can decode a stored row: pure, one row at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import attrs

from perdure.cli.check import row_invariants
from perdure.cli.check.finding import Finding, Topic, finding_at
from perdure.cli.check.tables import RememberedAnswer, StoredInstance
from perdure.codecs import fingerprint
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.suspension import check_readable
from perdure.stores.encryption.records import RecordCipher
from perdure.values.errors import InvalidInput, StoreCorrupt, UnknownAction
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
        yield from row_invariants.instance(row)
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
            yield from row_invariants.message(row)
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
        yield from row_invariants.answer(row)
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
