"""What becomes of ticks that came while nothing ran."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from perdure.values.errors import DefinitionError

MAX_CATCH_UP = 1_000


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


CatchUp: TypeAlias = Literal["once", "skip"] | CatchUpAll
"""``"once"``: the latest missed tick is run. ``"skip"``: none is. ``CatchUpAll(limit=24)``: each is, up to a limit."""


def check_catch_up(value: object) -> None:
    """Accept one of the three ways to catch up.

    Raises:
        DefinitionError: it is none of them.
    """
    if value not in ("once", "skip") and not isinstance(value, CatchUpAll):
        raise DefinitionError("catch_up of a schedule", value, "'once', 'skip' or CatchUpAll(limit=...)")


def _check_limit(value: object) -> None:
    if type(value) is not int or not 1 <= value <= MAX_CATCH_UP:
        raise DefinitionError("limit of CatchUpAll", value, f"a whole number from 1 to {MAX_CATCH_UP}")
