"""The outbox: requests that are written in a view's transaction, and sent after it."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from django.db import models


class OutboxRequest(models.Model):
    """A request that is not sent yet, or that the engine refused.

    Attributes:
        action: such as ``send``.
        payload: its input as JSON. Empty if it takes none.
        key: the idempotency key: however often the request is sent, it is applied once.
        created_at: when the row was written.
        attempts: how often it was sent without an answer.
        error: why the engine refused it. Empty while it waits. A refused request is not sent again.
    """

    id: models.BigAutoField[int, int] = models.BigAutoField(primary_key=True)
    kind: models.CharField[str, str] = models.CharField(max_length=100)
    job: models.CharField[str, str] = models.CharField(max_length=512)
    instance: models.CharField[str, str] = models.CharField(max_length=512)
    action: models.CharField[str, str] = models.CharField(max_length=100)
    payload: models.TextField[str, str] = models.TextField(blank=True)
    key: models.CharField[str, str] = models.CharField(max_length=512, unique=True)
    created_at: models.DateTimeField[datetime, datetime] = models.DateTimeField(auto_now_add=True)
    attempts: models.PositiveIntegerField[int, int] = models.PositiveIntegerField(default=0)
    error: models.TextField[str, str] = models.TextField(blank=True)

    class Meta:
        """Rows are sent in the order in which they were written."""

        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return f"{self.action} to {self.kind}:{self.job}:{self.instance}"
