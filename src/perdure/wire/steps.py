"""The steps of an instance as JSON."""

from __future__ import annotations

from typing import Any

from perdure.values.step_record import StepRecord
from perdure.wire.records import record_of


def steps_from(data: Any) -> tuple[StepRecord, ...]:
    """Read steps from parsed JSON.

    Raises:
        OutcomeUnknown: the data is not that of steps.
    """
    return tuple(record_of(StepRecord, each) for each in data)
