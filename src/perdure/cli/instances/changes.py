"""The differences between two JSON values, by path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import attrs
import orjson

from perdure.cli.json_object import array_of, object_of


@attrs.frozen
class JsonChange:
    """A difference.

    Attributes:
        form: whether a value was added, removed or changed.
        path: such as ``state.lines[0].amount``.
        before: the old value; None if it was added.
        after: the new value; None if it was removed.
    """

    form: Literal["added", "removed", "changed"]
    path: str
    before: object
    after: object


def changes(before: object, after: object, path: str = "") -> Iterator[JsonChange]:
    """Yield the differences, in the order of the old value's members, then the new ones.

    >>> [change.path for change in changes({"a": 1, "b": [1]}, {"a": 2, "b": [1, 3]})]
    ['a', 'b[1]']

    Args:
        before: JSON-able data.
        after: the same.
        path: of both, in a larger value.
    """
    objects, arrays = (object_of(before), object_of(after)), (array_of(before), array_of(after))
    if objects[0] is not None and objects[1] is not None:
        yield from _members(objects[0], objects[1], path)
    elif arrays[0] is not None and arrays[1] is not None:
        yield from _elements(arrays[0], arrays[1], path)
    elif json_text(before) != json_text(after):
        yield JsonChange("changed", path, before, after)


def json_text(value: object) -> bytes:
    """Return JSON that differs for ``1``, ``1.0`` and ``true``."""
    return orjson.dumps(value)


def _members(before: dict[str, Any], after: dict[str, Any], path: str) -> Iterator[JsonChange]:
    for name in [*before, *(each for each in after if each not in before)]:
        inner = f"{path}.{name}" if path else name
        if name not in after:
            yield JsonChange("removed", inner, before[name], None)
        elif name not in before:
            yield JsonChange("added", inner, None, after[name])
        else:
            yield from changes(before[name], after[name], inner)


def _elements(before: list[Any], after: list[Any], path: str) -> Iterator[JsonChange]:
    both = min(len(before), len(after))
    for at in range(both):
        yield from changes(before[at], after[at], f"{path}[{at}]")
    for at in range(both, len(before)):
        yield JsonChange("removed", f"{path}[{at}]", before[at], None)
    for at in range(both, len(after)):
        yield JsonChange("added", f"{path}[{at}]", None, after[at])
