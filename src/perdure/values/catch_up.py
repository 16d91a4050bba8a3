"""What a schedule does about ticks that it missed while no engine ran."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from perdure.values.errors import DefinitionError

MAX_CATCH_UP = 1_000
DEFAULT_CATCH_UP = 100


@attrs.frozen(kw_only=True)
class CatchUpAll:
    """Run each missed tick, the oldest first.

    Attributes:
        limit: how many are kept, 1 to 1,000; when more were missed, the oldest are dropped and counted.

    Raises:
        DefinitionError: the limit is out of range.
    """

    limit: int

    def __attrs_post_init__(self) -> None:
        _check_limit(self.limit)

    def __str__(self) -> str:
        return f"all, at most {self.limit}"


CatchUp: TypeAlias = Literal["once", "skip", "all"]
"""``"once"``: run the latest missed tick. ``"skip"``: run none. ``"all"``: run each, the oldest first."""

CaughtUp: TypeAlias = Literal["once", "skip"] | CatchUpAll
"""The same as a schedule keeps it."""


def caught_up(catch_up: CatchUp, limit: int | None) -> CaughtUp:
    """Combine the option and its limit.

    Args:
        catch_up: the option of ``every`` and ``cron``.
        limit: for ``"all"`` alone: how many missed ticks are kept, 1 to 1,000; 100 when it is None.

    Raises:
        DefinitionError: the option is unknown, or a limit was passed for another option than ``"all"``.
    """
    if catch_up == "all":
        return CatchUpAll(limit=DEFAULT_CATCH_UP if limit is None else limit)
    if catch_up not in ("once", "skip"):
        raise DefinitionError("catch_up of a schedule", catch_up, "'once', 'skip' or 'all'")
    if limit is not None:
        raise DefinitionError("catch_up_limit of a schedule", limit, 'no limit unless catch_up="all"')
    return catch_up


def check_catch_up(value: object) -> None:
    """Accept one of the three ways to catch up.

    Raises:
        DefinitionError: it is none of them.
    """
    if value not in ("once", "skip") and not isinstance(value, CatchUpAll):
        raise DefinitionError("catch_up of a schedule", value, "'once', 'skip' or 'all'")


def _check_limit(value: object) -> None:
    if type(value) is not int or not 1 <= value <= MAX_CATCH_UP:
        raise DefinitionError("catch_up_limit of a schedule", value, f"a whole number from 1 to {MAX_CATCH_UP}")
