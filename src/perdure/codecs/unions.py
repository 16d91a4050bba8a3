"""Unions: the class of a value selects the member on encoding, its JSON on decoding."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from perdure.codecs.json_schema import TAG, UNTAGGED, Definitions, JsonSchema
from perdure.codecs.redaction import of_members, of_tagged
from perdure.codecs.schema import Fault, Keeps, Part, Problem, Schema, shapes
from perdure.codecs.unsupported import Unsupported
from perdure.values.frozen import frozen

_OBJECT = frozenset({dict})

# the order of a union's members in its description, which does not depend on that of the declaration
_ORDER: Final[list[type]] = [dict, list, str, float, int, bool, type(None)]


@frozen
class Member:
    """A class in a union, and its tag."""

    tag: str
    cls: type
    schema: Schema


def tagged_schema(name: str, members: Sequence[Member]) -> Schema:
    """Return the schema of objects that carry their tag under ``type``.

    Args:
        name: the union's readable name.
        members: its classes; their tags and classes must differ.
    """
    writes = {member.cls: (member.tag, member.schema.write) for member in members}
    reads = {member.tag: member.schema.read for member in members}

    def read(data: Any, _: Any = None) -> Any:
        if type(data) is not dict:
            raise Fault(name, data)
        rest = data.copy()
        return reads[rest.pop(TAG)](rest, None)

    def write(value: Any) -> dict[str, Any]:
        found = writes.get(type(value))
        if found is None:
            raise Fault(name, value)
        return {TAG: found[0], **found[1](value)}

    def describe(definitions: Definitions, _tag: str | None = None, /) -> JsonSchema:
        ordered = sorted(members, key=lambda member: member.tag)
        found = [member.schema.describe(definitions, member.tag) for member in ordered]
        return {UNTAGGED: members[0].tag, "oneOf": found} if len(found) > 1 else found[0]

    return Schema(
        name=name,
        kinds=_OBJECT,
        classes=frozenset(writes),
        read=read,
        write=write,
        describe=describe,
        read_parts=_Tags({member.tag: member.schema for member in members}),
        write_parts=_Choice({member.cls: member.schema for member in members}),
        redact=of_tagged(TAG, {member.tag: member.schema for member in members}),
        keeps=_keeps_member({member.cls: member.schema for member in members}),
        structure=lambda: shapes.TaggedShape({member.tag: member.schema.shape() for member in members}),
    )


def union_schema(name: str, members: Sequence[Schema], path: str) -> Schema:
    """Return the schema of a union of types that JSON can distinguish.

    Raises:
        Unsupported: two members have the same class or the same kind of JSON.
    """
    reading = _by_class(((kind, member) for member in members for kind in member.kinds), name, path)
    writing = _by_class(((cls, member) for member in members for cls in _own_classes(member, members)), name, path)
    if float in reading:
        reading.setdefault(int, reading[float])
    reads = {kind: member.read for kind, member in reading.items()}
    writes = {cls: member.write for cls, member in writing.items()}

    def read(data: Any, _: Any = None) -> Any:
        found = reads.get(type(data))
        if found is None:
            raise Fault(name, data)
        return found(data, None)

    def write(value: Any) -> Any:
        found = writes.get(type(value))
        if found is None:
            raise Fault(name, value)
        return found(value)

    def describe(definitions: Definitions, tag: str | None = None, /) -> JsonSchema:
        ordered = sorted(members, key=lambda member: min(map(_ORDER.index, member.kinds)))
        return {"anyOf": [member.describe(definitions, tag) for member in ordered]}

    return Schema(
        name=name,
        kinds=frozenset(reading),
        classes=frozenset(writing),
        read=read,
        write=write,
        describe=describe,
        read_parts=_Choice(reading),
        write_parts=_Choice(writing),
        redact=of_members(reading, type),
        keeps=_keeps_member(writing),
        structure=lambda: shapes.UnionShape({kind: member.shape() for kind, member in reading.items()}),
    )


def _keeps_member(members: Mapping[type, Schema]) -> Keeps | None:
    asked = {cls: member.keeps for cls, member in members.items() if member.keeps is not None}
    if not asked:
        return None

    def keeps(value: Any) -> bool:
        kept = asked.get(type(value))
        return kept is None or kept(value)

    return keeps


def _own_classes(member: Schema, members: Sequence[Schema]) -> frozenset[type]:
    # in a union with int, float accepts floats only: 1 and 1.0 keep their types
    others = (other.classes for other in members if other is not member and float not in other.classes)
    return member.classes.difference(*others) if float in member.classes else member.classes


def _by_class(pairs: Iterable[tuple[type, Schema]], name: str, path: str) -> dict[type, Schema]:
    found: dict[type, Schema] = {}
    for cls, member in pairs:
        if cls in found:
            raise Unsupported(
                path,
                name,
                f"members that JSON keeps apart; {found[cls].name} and {member.name} look alike there: "
                "wrap each in an attrs class of its own",
            )
        found[cls] = member
    return found


@frozen
class _Choice:
    """The one part of a union's value: the value as the member of its class."""

    members: Mapping[type, Schema]

    def __call__(self, value: Any) -> Iterator[Part]:
        member = self.members.get(type(value))
        if member is not None:
            yield Part("", member, value)


@frozen
class _Tags:
    """The one part of a tagged object: the object without its tag, as the member of that tag."""

    members: Mapping[str, Schema]

    def __call__(self, data: Any) -> Iterator[Part | Problem]:
        if type(data) is not dict:
            return
        rest = data.copy()
        tag = rest.pop(TAG, None)
        known = "one of " + ", ".join(repr(tag) for tag in self.members)
        if type(tag) is str and tag in self.members:
            yield Part("", self.members[tag], rest)
        elif TAG in data:
            yield Problem(f".{TAG}", str(Fault(known, tag)))
        else:
            yield Problem(f".{TAG}", f"missing; expected {known}")
