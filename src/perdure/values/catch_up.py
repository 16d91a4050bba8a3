"""How a schedule handles ticks that it missed while no engine ran."""

from __future__ import annotations

from typing import Literal, TypeAlias

from perdure.values.errors import DefinitionError
from perdure.values.frozen import frozen

MAX_CATCH_UP = 1_000
DEFAULT_CATCH_UP = 100


@frozen(kw_only=True)
class CatchUpAll:
    """Run each missed tick, oldest first.

    Attributes:
        limit: the number of ticks kept, 1 to 1,000; when more were missed, the oldest are dropped and counted.

    Raises:
        DefinitionError: the limit is out of range.
    """

    limit: int

    def __attrs_post_init__(self) -> None:
        _check_limit(self.limit)

    def __str__(self) -> str:
        return f"all, at most {self.limit}"


CatchUp: TypeAlias = Literal["once", "skip", "all"]
"""``"once"``: run the latest missed tick. ``"skip"``: run none. ``"all"``: run each, oldest first."""

CaughtUp: TypeAlias = Literal["once", "skip"] | CatchUpAll
"""The same option as a schedule stores it."""


def caught_up(catch_up: CatchUp, limit: int | None) -> CaughtUp:
    """Combine the option and its limit.

    Args:
        catch_up: the option of ``every`` and ``cron``.
        limit: only for ``"all"``: the number of missed ticks kept, 1 to 1,000; None means 100.

    Raises:
        DefinitionError: the option is unknown, or a limit was passed with an option other than ``"all"``.
    """
    if catch_up == "all":
        return CatchUpAll(limit=DEFAULT_CATCH_UP if limit is None else limit)
    if catch_up not in ("once", "skip"):
        raise DefinitionError("catch_up of a schedule", catch_up, "'once', 'skip' or 'all'")
    if limit is not None:
        raise DefinitionError("catch_up_limit of a schedule", limit, 'no limit unless catch_up="all"')
    return catch_up


def describe_catch_up(option: CaughtUp) -> str:
    """Describe the option in a line.

    >>> describe_catch_up(CatchUpAll(limit=100))
    'run all, at most 100'
    """
    match option:
        case "once":
            return "run the latest"
        case "skip":
            return "run none"
        case CatchUpAll():
            return f"run {option}"


def check_catch_up(value: object) -> None:
    """Check that a value is a catch-up option.

    Raises:
        DefinitionError: it is not one.
    """
    if value not in ("once", "skip") and not isinstance(value, CatchUpAll):
        raise DefinitionError("catch_up of a schedule", value, "'once', 'skip' or 'all'")


def _check_limit(value: object) -> None:
    if type(value) is not int or not 1 <= value <= MAX_CATCH_UP:
        raise DefinitionError("catch_up_limit of a schedule", value, f"a whole number from 1 to {MAX_CATCH_UP}")
