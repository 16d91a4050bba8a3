"""The status of a stored instance."""

from __future__ import annotations

from typing import Literal, TypeAlias

Suspension: TypeAlias = Literal["paused", "retries_exhausted", "recovery_exhausted", "undecodable"]
"""Why the alarms of an instance are suspended: a caller paused it, or it was parked for one of three reasons."""

Status: TypeAlias = Literal["scheduled", "queued", "idle", "running", "retrying", "paused", "parked", "done"]
"""The statuses of a stored instance, the same for all kinds."""
