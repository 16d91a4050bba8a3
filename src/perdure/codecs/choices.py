"""``Literal`` and ``Enum``: a closed set of values, each with one JSON scalar."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

from enum import Enum, Flag
from typing import Any

from perdure.codecs.json_schema import Describe, choice, named
from perdure.codecs.schema import Fault, Schema, shapes
from perdure.codecs.unsupported import Unsupported

_SCALARS = (str, int, bool, type(None))


def literal_schema(name: str, members: tuple[Any, ...], path: str) -> Schema:
    """Return the schema of a ``Literal``; an enum's member is encoded as its value.

    Raises:
        Unsupported: a member is not a JSON scalar, or two have the same one.
    """
    return _choice(name, members, path, choice([_wire(member, path) for member in members]))


def enum_schema(cls: type[Enum], path: str) -> Schema:
    """Return the schema of an enum, whose members are encoded as their values.

    Raises:
        Unsupported: a value is neither text nor an integer, or the members combine (``Flag``).
    """
    if issubclass(cls, Flag):
        raise Unsupported(path, cls, "an Enum; of a Flag, store the frozenset of its members' names")
    describe = choice([_wire(member, path) for member in cls])
    return _choice(cls.__name__, tuple(cls), path, named(cls, cls.__name__, describe))


def _choice(name: str, members: tuple[Any, ...], path: str, describe: Describe) -> Schema:
    texts = {_key(member): _wire(member, path) for member in members}
    values = {_key(_wire(member, path)): member for member in members}
    if len(values) != len(texts) or not values:
        raise Unsupported(path, name, "choices whose JSON values differ, at least one of them")

    def read(data: Any, _: Any = None) -> Any:
        found = values.get((type(data), data), _ABSENT) if type(data) in kinds else _ABSENT
        if found is _ABSENT:
            raise Fault(expected, data)
        return found

    def write(value: Any) -> Any:
        found = texts.get((type(value), value), _ABSENT) if type(value) in classes else _ABSENT
        if found is _ABSENT:
            raise Fault(expected, value)
        return found

    kinds, classes = frozenset(cls for cls, _ in values), frozenset(cls for cls, _ in texts)
    expected = f"{name}, one of {', '.join(repr(text) for text in texts.values())}"
    return Schema(
        name=name,
        kinds=kinds,
        classes=classes,
        read=read,
        write=write,
        describe=describe,
        structure=lambda: shapes.ChoiceShape(kinds, frozenset(values)),
    )


_ABSENT = object()


def _key(value: Any) -> tuple[type, Any]:
    # with its class, because 1, True and 1.0 are the same key of a dict
    return type(value), value


def _wire(member: Any, path: str) -> Any:
    value = member.value if isinstance(member, Enum) else member
    if type(value) not in _SCALARS:
        raise Unsupported(path, member, "choices that are str, int, bool or None, or enum members with such values")
    return value
