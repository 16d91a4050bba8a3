"""Schedules of a fixed interval."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from perdure.values.catch_up import CatchUp, CaughtUp, caught_up, check_catch_up
from perdure.values.duration import Duration, duration_ms, format_duration
from perdure.values.errors import DefinitionError
from perdure.values.frozen import frozen
from perdure.values.stagger import check_stagger, stagger_ms

Align: TypeAlias = Literal["completion", "start"]
"""``"completion"``: an interval begins when a run ends. ``"start"``: ticks are at start + k * interval."""


@frozen(kw_only=True)
class Every:
    """A schedule of a fixed interval; make one with ``every``.

    Two schedules with the same text set the same alarms.

    Attributes:
        interval_ms: from the end of a run to the next tick, or from tick to tick.
        align: which of the two.
        catch_up: how missed ticks are handled; a schedule aligned to completion misses none.
        stagger_ms: the largest shift of an instance; 0 for none.
    """

    interval_ms: int
    align: Align = "completion"
    catch_up: CaughtUp = "once"
    stagger_ms: int = 0

    def __attrs_post_init__(self) -> None:
        _check_align(self.align)
        check_catch_up(self.catch_up)
        if self.align == "completion":
            self._check_no_grid_options()
        check_stagger(self.stagger_ms, smallest_gap_ms=self.interval_ms)

    def __str__(self) -> str:
        stagger = f", staggered by {format_duration(self.stagger_ms)}" if self.stagger_ms else ""
        return f"every {format_duration(self.interval_ms)} from {self.align}{stagger}"

    def _check_no_grid_options(self) -> None:
        fix = "on a schedule aligned to the completion of a run; add align='start' to use it"
        if self.stagger_ms:
            raise DefinitionError("stagger of a schedule", format_duration(self.stagger_ms), f"no stagger {fix}")
        if self.catch_up != "once":
            raise DefinitionError("catch_up of a schedule", self.catch_up, f"'once' {fix}")


def every(
    interval: Duration,
    *,
    align: Align = "completion",
    catch_up: CatchUp = "once",
    catch_up_limit: int | None = None,
    stagger: Duration | None = None,
) -> Every:
    """Run at a fixed interval.

    Args:
        interval: 1 ms to 100 years.
        align: ``"completion"``: the next run starts one interval after this one ends (fixed delay). ``"start"``:
            runs start at start + k * interval, however long they take (fixed rate).
        catch_up: with ``align="start"``: the missed ticks to run after downtime: ``"once"`` the latest, ``"skip"``
            none, ``"all"`` each, oldest first.
        catch_up_limit: with ``catch_up="all"``: the number of missed ticks kept, 1 to 1,000; 100 by default. The oldest
            are dropped and counted in ``ctx.missed``.
        stagger: with ``align="start"``: shift each instance by less than this, by an amount that depends on its address
            alone. Shorter than the interval.

    Raises:
        DefinitionError: an option is wrong, or needs ``align="start"``.

    >>> str(every("30 minutes", align="start", stagger="5 minutes"))
    'every 30m from start, staggered by 5m'
    """
    return Every(
        interval_ms=duration_ms(interval, what="interval of a schedule"),
        align=align,
        catch_up=caught_up(catch_up, catch_up_limit),
        stagger_ms=stagger_ms(stagger),
    )


def _check_align(value: object) -> None:
    if value not in get_args(Align):
        raise DefinitionError("align of a schedule", value, "'completion' or 'start'")
