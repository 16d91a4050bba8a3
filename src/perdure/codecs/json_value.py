"""``Any`` and ``object``: plain JSON values, unchanged."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from perdure.codecs.json_schema import always
from perdure.codecs.scalars import SCALARS
from perdure.codecs.schema import LONGEST, MAX_NESTING, Fault, Part, Schema, never
from perdure.values.excerpt import excerpt

_KEY: Final = SCALARS[str]
_NESTING: Final = (list, dict)


def _same(value: Any, _: Any = None) -> Any:
    return _copied(value, 0)


def _copied(value: Any, depth: int) -> Any:
    cls: type = type(value)
    if depth == MAX_NESTING and cls in _NESTING:
        # counted here, because some Pythons never raise RecursionError in a loop like this one
        raise Fault(f"JSON nested at most {MAX_NESTING} deep", value)
    if cls is list:
        return [_copied(item, depth + 1) for item in value]
    if cls is dict:
        return {_KEY.write(key): _copied(item, depth + 1) for key, item in value.items()}
    scalar = SCALARS.get(cls)
    if scalar is None or cls not in scalar.kinds:
        raise Fault("a plain JSON value (None, bool, int, float, str, list, dict with str keys)", value)
    return scalar.write(value)


def _parts(value: Any) -> Iterator[Part]:
    cls: type = type(value)
    if cls is list:
        yield from (Part(f"[{at}]", PLAIN, item) for at, item in enumerate(value))
    if cls is dict:
        for key, item in value.items():
            yield Part(f"[{excerpt(key, LONGEST)}]", _KEY, key)
            yield Part(f"[{excerpt(key, LONGEST)}]", PLAIN, item)


_CLASSES: Final[frozenset[type]] = frozenset({type(None), bool, int, float, str, list, dict})

PLAIN: Final = Schema(
    name="plain JSON",
    kinds=_CLASSES,
    classes=_CLASSES,
    read=_same,
    write=_same,
    describe=always(),
    read_parts=_parts,
    write_parts=_parts,
    keeps=never,
)
"""The schema of any JSON value."""
