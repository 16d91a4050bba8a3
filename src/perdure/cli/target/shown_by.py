"""The records of a store at rest as a command shows them: decrypted, and without secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import attrs

from perdure._lazy import lazy_module
from perdure.cli.usage_error import UsageError
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.redaction import redacted_instance, redacted_message
from perdure.stores.encryption.records import RecordCipher
from perdure.stores.values import LoggedEvent
from perdure.values.address import Address
from perdure.values.failure import FailureRecord
from perdure.values.instance import Instance
from perdure.values.listings import InstanceOutcome, StepRecord
from perdure.values.message import StoredMessage
from perdure.values.secret import why_unreadable

if TYPE_CHECKING:
    from perdure.cli import app_loader
else:
    app_loader = lazy_module("perdure.cli.app_loader")  # an app imports the engine

NOT_SHOWN: Final = "<not shown: the app does not serve this job, so its secrets are not known>"
"""Stands for the state of an instance whose job the app does not serve."""


@attrs.frozen
class Shown:
    """Decrypts and redacts records.

    Attributes:
        served: the definitions of the app, by kind and name.
        records: decrypts; None if the app does not encrypt.
    """

    served: Mapping[tuple[str, str], AnyDefinition] = attrs.Factory(dict[tuple[str, str], AnyDefinition])
    records: RecordCipher | None = None

    def knows(self, address: Address) -> bool:
        """Return whether the app has the definition of an instance, which says which values are secret."""
        return self._job(address) is not None

    def instance(self, instance: Instance) -> Instance:
        """Return an instance as it is shown; without its definition, as it is stored but for the data of its errors."""
        found = instance if self.records is None else self.records.instance(instance)
        found = found.changed(last_error=found.last_error and _explained(found.last_error))
        job = self._job(found.address)
        return _without_error_data(found) if job is None else redacted_instance(job, found)

    def check_readable(self, instance: Instance) -> None:
        """Check that the app has the key of an instance's state.

        Raises:
            UsageError: it has not.
        """
        found = instance if self.records is None else self.records.instance(instance)
        problem = why_unreadable(found.state) or why_unreadable(found.data)
        if problem is not None:
            raise UsageError(f"{instance.address}: {problem}")

    def outcome(self, instance: Instance) -> InstanceOutcome | None:
        """Return how an instance ended; None if it has not, or if no app was named that serves the job."""
        job = self._job(instance.address)
        return None if job is None else job.outcome_of(self.instance(instance))

    def steps(self, instance: Instance, rows: tuple[str, ...]) -> tuple[StepRecord, ...]:
        """Return the steps of an instance.

        Raises:
            UsageError: no app was named, or it does not serve the job.
        """
        job, records = self._job(instance.address), self.records
        if job is None:
            problem = (
                "the store is at rest, and only its app can read the steps: pass one that serves the job with --app"
            )
            raise UsageError(f"{instance.address}: {problem}")
        if records is None:
            return job.steps(instance, rows)
        return job.steps(records.instance(instance), records.journal(rows, str(instance.address), 0))

    def messages(self, messages: tuple[StoredMessage, ...]) -> tuple[StoredMessage, ...]:
        """Return messages as they are shown."""
        return tuple(map(self._message, messages))

    def _message(self, stored: StoredMessage) -> StoredMessage:
        found = stored if self.records is None else self.records.message(stored)
        job = self._job(found.message.target)
        if job is not None:
            found = redacted_message(job, found)
        error = _without_data(found.error) if job is None else found.error
        return attrs.evolve(found, error=error and _explained(error))

    def events(self, events: tuple[LoggedEvent, ...]) -> tuple[LoggedEvent, ...]:
        """Return events as they are shown: they are stored without secrets."""
        return events if self.records is None else self.records.logged(events)

    def _job(self, address: Address) -> AnyDefinition | None:
        return self.served.get((address.kind, address.name))


def shown_by(app: str | None) -> Shown:
    """Import an app, to show the records of its store.

    Args:
        app: the app, written ``module:app``; None to show them as they are stored.

    Raises:
        UsageError: it cannot be imported, or its keys cannot be read.
    """
    if app is None:
        return Shown()
    code = app_loader.import_app(app)
    return Shown(code.served, app_loader.records_of(code))


def _without_error_data(instance: Instance) -> Instance:
    """Leave out the data of typed errors: only the definition says what of it is secret. Their texts hide that."""
    retry = instance.pending_retry
    return instance.changed(
        last_error=_without_data(instance.last_error),
        pending_retry=retry and attrs.evolve(retry, error=attrs.evolve(retry.error, data=None)),
    )


def _without_data(error: FailureRecord | None) -> FailureRecord | None:
    return error and attrs.evolve(error, data=None)


def _explained(record: FailureRecord) -> FailureRecord:
    """Replace the ciphertext of an error by the reason why it is not decrypted."""
    problem = why_unreadable(record.message)
    return record if problem is None else attrs.evolve(record, message=problem)
