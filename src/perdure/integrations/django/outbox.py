"""The outbox: a request is a row in the view's transaction, and is sent when that transaction has committed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar
from uuid import uuid4

import attrs
from django.db import transaction
from django.db.models import F
from returns.result import Failure, Success

from perdure.integrations.django.client import jobs
from perdure.integrations.django.models import OutboxRequest
from perdure.jobs.definition import Definition
from perdure.jobs.explanation import request_of
from perdure.programs import Program
from perdure.values.address import check_id
from perdure.values.errors import (
    AccessDenied,
    EngineClosed,
    OutcomeUnknown,
    Overloaded,
    PerdureError,
    ServerUnreachable,
    StoreError,
)
from perdure.values.limits import Limits

T = TypeVar("T")

MAX_ROWS: Final = 1_000
"""The maximum number of rows that one `send_waiting` call sends."""

# All others are decisions on the request itself, which the same request would meet again.
_AGAIN: Final = (AccessDenied, EngineClosed, OutcomeUnknown, Overloaded, ServerUnreachable, StoreError)
"""The errors after which a row waits: the engine did not decide on the request, or its answer was lost."""


@attrs.frozen(kw_only=True)
class SentRows:
    """What one `send_waiting` call did.

    Attributes:
        sent: rows that the engine handled. They are deleted.
        refused: rows that it refused. They are kept, with the error, and are not sent again.
        stopped_by: the error that stopped the call, such as an engine that does not answer. None if none did.
    """

    sent: int
    refused: int
    stopped_by: PerdureError | None


def send_after_commit(
    definition: Definition[Any, T, Any],
    id_: str,
    request: Callable[[T], Program[None]],
    /,
    *,
    idempotency_key: str | None = None,
    using: str | None = None,
) -> OutboxRequest:
    """Write a request into the outbox, and send it when the transaction has committed.

    If the transaction rolls back, nothing is sent. If the process dies after the commit, or the engine does not answer,
    the row remains, and the next `send_waiting` sends it (``manage.py perdure outbox``). The key makes a repeat
    harmless.

    Args:
        definition: the job.
        id_: the instance.
        request: the request, as a function that takes the job's sender: ``lambda order: order.send(Place(...))``.
        idempotency_key: the request's key. By default a new one.
        using: the transaction's database. By default Django's default database.

    Raises:
        InvalidId: the id is not valid.
        InvalidInput: the input does not have its declared type, or is too large.
    """
    # Made with the row: each attempt to send it has the same key.
    key = idempotency_key or f"outbox-{uuid4()}"
    # Checked now: in the view the caller can still answer for a wrong input. Later there is only a refused row.
    checked = request_of(definition, request, key=key, max_bytes=Limits().payload_bytes, of="send_after_commit")
    row = OutboxRequest(
        kind=definition.kind,
        job=definition.name,
        instance=check_id(id_),
        action=checked.action,
        payload=checked.payload,
        key=key,
    )
    # In the caller's transaction: the row exists exactly if the rest of it does.
    row.save(using=using, force_insert=True)
    # Robust: the transaction has committed, so an error of the sending must not fail the view.
    transaction.on_commit(partial(send_waiting, instance=row.instance, using=using), using=using, robust=True)
    return row


def send_waiting(*, instance: str | None = None, using: str | None = None) -> SentRows:
    """Send the rows that wait, at most `MAX_ROWS`, the oldest first. Several processes may call it at a time.

    Args:
        instance: only requests to this instance. By default all.
        using: the database. By default Django's default database.
    """
    # A refused row stays for an operator: the engine would refuse it again.
    rows = OutboxRequest.objects.using(using).filter(error="")
    if instance is not None:
        rows = rows.filter(instance=instance)
    sent = refused = 0
    for row in rows[:MAX_ROWS]:
        # By name: the code may have changed since, and the engine gets the text of the row.
        call = jobs().handle_by_name(row.kind, row.job).call
        # Not `row.save`: it fails if another process has sent the row meanwhile, and deleted it.
        of_row = OutboxRequest.objects.using(using).filter(pk=row.pk)
        match jobs().attempt(call(row.action, row.instance, row.payload, idempotency_key=row.key)):
            case Success(_):
                # If the process ends before this, the row is sent again, and its key makes that harmless.
                row.delete()
                sent += 1
            case Failure(error) if isinstance(error, _AGAIN):
                of_row.update(attempts=F("attempts") + 1)
                # All rows go to one engine: the next ones would meet the same error.
                return SentRows(sent=sent, refused=refused, stopped_by=error)
            case Failure(error):
                of_row.update(error=str(error))
                refused += 1
    return SentRows(sent=sent, refused=refused, stopped_by=None)
