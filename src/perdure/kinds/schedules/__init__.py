"""Schedules as data: stored, changed, paused and deleted while engines run."""

from typing import TYPE_CHECKING

from perdure.kinds.schedules.definition import Schedules as Schedules

if TYPE_CHECKING:
    from perdure.kinds.schedules.entry import Backfilled as Backfilled
    from perdure.kinds.schedules.entry import BackfillRange as BackfillRange
    from perdure.kinds.schedules.entry import ScheduledMessage as ScheduledMessage
    from perdure.kinds.schedules.entry import SchedulePut as SchedulePut
    from perdure.kinds.schedules.entry import ScheduleTiming as ScheduleTiming
    from perdure.kinds.schedules.handle import SchedulesHandle as SchedulesHandle
    from perdure.kinds.schedules.handle import SchedulesSender as SchedulesSender
else:
    from perdure._lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "perdure.kinds.schedules.entry": (
                "BackfillRange",
                "Backfilled",
                "SchedulePut",
                "ScheduledMessage",
                "ScheduleTiming",
            ),
            "perdure.kinds.schedules.handle": ("SchedulesHandle", "SchedulesSender"),
        },
    )

__all__ = [
    "BackfillRange",
    "Backfilled",
    "SchedulePut",
    "ScheduleTiming",
    "ScheduledMessage",
    "Schedules",
    "SchedulesHandle",
    "SchedulesSender",
]
