"""The steps of an instance as JSON."""

from __future__ import annotations

from typing import cast

from perdure.values.listings import StepRecord
from perdure.wire.records import record_of


def steps_from(data: object) -> tuple[StepRecord, ...]:
    """Read steps from parsed JSON.

    Raises:
        OutcomeUnknown: the data is not that of steps.
    """
    listed = data if isinstance(data, list) else [data]  # pyright: ignore[reportUnknownVariableType] - JSON
    return tuple(record_of(StepRecord, each) for each in cast("list[object]", listed))
