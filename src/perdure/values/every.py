"""Recurring at a fixed interval."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import attrs

from perdure.values.catch_up import CatchUp, check_catch_up
from perdure.values.duration import Duration, duration_ms, format_duration
from perdure.values.errors import DefinitionError
from perdure.values.spread import check_spread, spread_ms

MeasuredFrom: TypeAlias = Literal["end", "grid"]
"""``"end"``: an interval begins when a run ends. ``"grid"``: ticks stand at start + k * interval, whenever runs end."""


@attrs.frozen(kw_only=True)
class Every:
    """A schedule of a fixed interval; make one with ``every``.

    Its text says what decides where alarms lie: two schedules of the same text put them at the same times.

    Attributes:
        interval_ms: from the end of a run to the next tick, or from tick to tick.
        measured_from: which of the two.
        catch_up: what becomes of ticks that were missed; an end-measured schedule has one tick and cannot miss more.
        spread_ms: how far instances are shifted against each other; 0: not at all.
    """

    interval_ms: int
    measured_from: MeasuredFrom = "end"
    catch_up: CatchUp = "once"
    spread_ms: int = 0

    def __attrs_post_init__(self) -> None:
        _check_measured_from(self.measured_from)
        check_catch_up(self.catch_up)
        if self.measured_from == "end":
            self._check_no_grid_options()
        check_spread(self.spread_ms, smallest_gap_ms=self.interval_ms)

    def __str__(self) -> str:
        spread = f", spread {format_duration(self.spread_ms)}" if self.spread_ms else ""
        return f"every {format_duration(self.interval_ms)} from {self.measured_from}{spread}"

    def _check_no_grid_options(self) -> None:
        fix = "on a schedule measured from its end, which has no grid; add measured_from='grid' to use it"
        if self.spread_ms:
            raise DefinitionError("spread of a schedule", format_duration(self.spread_ms), f"no spread {fix}")
        if self.catch_up != "once":
            raise DefinitionError("catch_up of a schedule", self.catch_up, f"'once' {fix}")


def every(
    interval: Duration,
    *,
    measured_from: MeasuredFrom = "end",
    catch_up: CatchUp = "once",
    spread: Duration | None = None,
) -> Every:
    """Run again and again at an interval.

    Args:
        interval: 1 ms to 100 years.
        measured_from: ``"end"``, the next run comes that long after the end of this one; or ``"grid"``, at
            start + k * interval, however long runs take.
        catch_up: on a grid, what becomes of ticks missed while nothing ran.
        spread: on a grid, shift each instance by less than this, by an amount that depends on its address alone.
            Shorter than the interval.

    Raises:
        DefinitionError: an option is wrong, or does not go with an end-measured schedule.

    >>> str(every("30 minutes", measured_from="grid", spread="5 minutes"))
    'every 30m from grid, spread 5m'
    """
    return Every(
        interval_ms=duration_ms(interval, what="interval of a schedule"),
        measured_from=measured_from,
        catch_up=catch_up,
        spread_ms=spread_ms(spread),
    )


def _check_measured_from(value: object) -> None:
    if value not in get_args(MeasuredFrom):
        raise DefinitionError("measured_from of a schedule", value, "'end' or 'grid'")
