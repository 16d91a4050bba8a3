"""Marks the secrets that changed between two versions of a JSON value, without showing them."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# The patterns narrow JSON-able data to objects and arrays of any values.

from __future__ import annotations

from typing import Any, Final

from perdure.values.secret import HIDDEN

CHANGED: Final = f"{HIDDEN} (changed)"
"""Stands for a secret that changed."""


def with_changes(shown: object, old: object, new: object) -> object:
    """Return JSON with each hidden secret that changed replaced by `CHANGED`.

    >>> with_changes({"token": "<secret>"}, {"token": "<secret>1"}, {"token": "<secret>2"})
    {'token': '<secret> (changed)'}

    Args:
        shown: JSON with each secret hidden.
        old: the JSON before, with a label in the place of each secret: equal secrets have equal labels.
        new: the same of ``shown``.
    """
    match shown, old, new:
        case dict(), dict(), dict():
            pairs = zip(shown.items(), new.items(), strict=True)
            return {name: with_changes(each, old.get(key), inner) for (name, each), (key, inner) in pairs}
        case list(), list(), list():
            return [with_changes(each, *both) for each, *both in zip(shown, _filled(old, len(shown)), new, strict=True)]
        case str(), str(), str() if shown == HIDDEN and old.startswith(HIDDEN) and old != new:
            return CHANGED
        case _:
            return shown


def _filled(values: list[Any], size: int) -> list[Any]:
    return [*values, *[None] * size][:size]
