"""Transitions that change few columns, as the arguments of ``commit_narrow``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from perdure.stores.codec import to_json
from perdure.stores.postgres.text import encoded
from perdure.values.transition import Put, Transition

NarrowRow: TypeAlias = tuple[int, int, int, int, int | None, str | None]
"""Incarnation, version, form, instant, number and body."""

TYPES: Final = ("bigint[]", "int[]", "bigint[]", "bigint[]", "int[]", "bigint[]", "bigint[]", "text[]")
"""The types of the arguments before those of events."""


def narrow_row(transition: Transition) -> NarrowRow | None:
    """Encode a transition that changes few columns and writes nothing else but events; None for any other.

    Raises:
        Exception: the claim cannot be encoded.
    """
    write, expected = transition.write, transition.expected
    if type(write) is not Put or write.changes == "any" or expected is None:
        return None
    if transition.messages or transition.inbound or transition.remember or transition.journal:
        return None
    after = write.instance
    start = expected.incarnation, expected.version
    if write.changes == "state":
        return *start, 0, after.updated_ms, after.event_count, encoded(after.state)
    if write.changes == "claim":
        return *start, 1, after.updated_ms, after.run_count, to_json(after.claim)
    return *start, 2, after.updated_ms, after.alarm_ms, encoded(after.state)


def narrow_arguments(rows: Sequence[tuple[int, NarrowRow]], first_lock: Sequence[int]) -> list[Sequence[Any]]:
    """Return the arrays of rows, each with the number of its transition, in the order of incarnations.

    Args:
        rows: one or more.
        first_lock: the incarnations that other transitions of the statement write.
    """
    ordered = sorted(rows, key=_incarnation)
    return [first_lock, [number for number, _ in ordered], *zip(*(row for _, row in ordered), strict=True)]


def _incarnation(pair: tuple[int, NarrowRow]) -> int:
    return pair[1][0]
