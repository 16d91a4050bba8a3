"""Schemas made from other schemas: lists, tuples, sets, dicts and unions.

In a union, the value's class selects the member on encoding, and the JSON on decoding.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import getitem
from typing import Any, Final

import orjson

from perdure.codecs.json_schema import TAG, UNTAGGED, Definitions, Describe, JsonSchema, Unsupported
from perdure.codecs.schema import (
    LONGEST,
    Fault,
    Keeps,
    Part,
    Parts,
    Problem,
    Read,
    Schema,
    Write,
    never,
    of_items,
    of_mapping,
    of_members,
    of_positions,
    of_tagged,
    shapes,
)
from perdure.values.excerpt import excerpt
from perdure.values.frozen import frozen
from perdure.values.secret import HIDDEN

_LIST = frozenset({list})
_DICT = frozenset({dict})


def list_schema(name: str, item: Schema) -> Schema:
    """Return the schema for ``list[item]``."""
    item_read, item_write = item.read, item.write

    def read(data: Any, _: Any = None) -> list[Any]:
        if type(data) is not list:
            raise Fault(name, data)
        return [item_read(each, None) for each in data]

    def write(value: Any) -> list[Any]:
        if type(value) is not list:
            raise Fault(name, value)
        return [item_write(each) for each in value]

    return _collection(name, list, read=read, write=write, item=item, describe=_array(item), keeps=never)


def tuple_schema(name: str, item: Schema) -> Schema:
    """Return the schema for ``tuple[item, ...]``."""
    item_read, item_write = item.read, item.write

    def read(data: Any, _: Any = None) -> tuple[Any, ...]:
        if type(data) is not list:
            raise Fault(name, data)
        return tuple([item_read(each, None) for each in data])

    def write(value: Any) -> list[Any]:
        if type(value) is not tuple:
            raise Fault(name, value)
        return [item_write(each) for each in value]

    return _collection(name, tuple, read=read, write=write, item=item, describe=_array(item), keeps=_keeps_all(item))


def set_schema(name: str, cls: type[set[Any] | frozenset[Any]], item: Schema) -> Schema:
    """Return the schema for ``set[item]`` or ``frozenset[item]``: sorted, so that equal sets have equal bytes."""

    def read(data: Any, _: Any = None) -> set[Any] | frozenset[Any]:
        if type(data) is not list:
            raise Fault(name, data)
        found = cls([item.read(each, None) for each in data])
        # Equal to this code: one of them would be lost.
        if len(found) != len(data):
            raise Fault(f"{name} without repeated members", data)
        return found

    def write(value: Any) -> list[Any]:
        if type(value) is not cls:
            raise Fault(name, value)
        return sorted((item.write(each) for each in value), key=orjson.dumps)

    keeps = _keeps_all(item) if cls is frozenset else never
    return _collection(
        name, cls, read=read, write=write, item=item, describe=_array(item, uniqueItems=True), keeps=keeps
    )


def fixed_tuple_schema(name: str, items: Sequence[Schema]) -> Schema:
    """Return the schema for ``tuple[a, b, c]``: a fixed member count, each member with its own type."""
    reads, writes, length = [i.read for i in items], [i.write for i in items], len(items)

    def read(data: Any, _: Any = None) -> tuple[Any, ...]:
        if type(data) is not list or len(data) != length:
            raise Fault(name, data)
        return tuple([read(each, None) for read, each in zip(reads, data, strict=True)])

    def write(value: Any) -> list[Any]:
        if type(value) is not tuple or len(value) != length:
            raise Fault(name, value)
        return [write(each) for write, each in zip(writes, value, strict=True)]

    def describe(definitions: Definitions, _tag: str | None = None, /) -> JsonSchema:
        members = [item.describe(definitions) for item in items]
        form: JsonSchema = {"type": "array", "minItems": length, "maxItems": length}
        return {**form, "prefixItems": members} if members else form

    def parts_of(cls: type[Any]) -> Parts:
        def parts(value: Any) -> Iterator[Part]:
            if type(value) is cls and len(value) == length:
                yield from (Part(f"[{at}]", *pair) for at, pair in enumerate(zip(items, value, strict=True)))

        return parts

    return Schema(
        name=name,
        kinds=_LIST,
        classes=frozenset({tuple}),
        read=read,
        write=write,
        describe=describe,
        read_parts=parts_of(list),
        write_parts=parts_of(tuple),
        redact=of_positions(items),
        keeps=keeps_parts(tuple((at, item.keeps) for at, item in enumerate(items)), getitem),
        structure=lambda: shapes.TupleShape([item.shape() for item in items]),
    )


def dict_schema(name: str, key: Schema, value: Schema) -> Schema:
    """Return the schema for ``dict[key, value]``. The keys must be text in JSON."""

    def read(data: Any, _: Any = None) -> dict[Any, Any]:
        if type(data) is not dict:
            raise Fault(name, data)
        found = {key.read(k, None): value.read(v, None) for k, v in data.items()}
        # Two texts of one key, such as two spellings of an instant: one of the entries would be lost.
        if len(found) != len(data):
            raise Fault(f"{name} without two texts for one key", data)
        return found

    def write(mapping: Any) -> dict[str, Any]:
        if type(mapping) is not dict:
            raise Fault(name, mapping)
        return {key.write(k): value.write(v) for k, v in mapping.items()}

    def describe(definitions: Definitions, _tag: str | None = None, /) -> JsonSchema:
        form: JsonSchema = {"type": "object", "additionalProperties": value.describe(definitions)}
        keys = key.describe(definitions)
        return form if keys == {"type": "string"} else {**form, "propertyNames": keys}

    def parts(mapping: Any) -> Iterator[Part]:
        if type(mapping) is dict:
            for k, v in mapping.items():
                step = f"[{excerpt(k, LONGEST) if key.redact is None else HIDDEN}]"
                yield Part(step, key, k)
                yield Part(step, value, v)

    return Schema(
        name=name,
        kinds=_DICT,
        classes=_DICT,
        read=read,
        write=write,
        describe=describe,
        read_parts=parts,
        write_parts=parts,
        redact=of_mapping(key, value),
        keeps=never,
        structure=lambda: shapes.DictShape(
            key.shape(), value.shape(), write_key=key.write, is_secret=key.redact is not None
        ),
    )


def keeps_parts(parts: Sequence[tuple[Any, Keeps | None]], get: Callable[[Any, Any], Any]) -> Keeps | None:
    """Return whether a value with fixed parts can be kept: when each part can.

    Args:
        parts: each part's place, and whether it can be kept.
        get: returns a value's part at a place.
    """
    asked = tuple((at, keeps) for at, keeps in parts if keeps is not None)
    # Decided once for the type: the test for each value is on each turn.
    if any(keeps is never for _, keeps in asked):
        return never
    if not asked:
        return None
    return lambda value: all(keeps(get(value, at)) for at, keeps in asked)


def _keeps_all(item: Schema) -> Keeps | None:
    keeps = item.keeps
    if keeps is None or keeps is never:
        return keeps
    return lambda values: all(map(keeps, values))


def _collection(
    name: str,
    cls: type,
    *,
    read: Read,
    write: Write,
    item: Schema,
    describe: Describe,
    keeps: Keeps | None,
) -> Schema:
    def parts_of(outer: type[Any]) -> Parts:
        def parts(value: Any) -> Iterator[Part]:
            if type(value) is outer:
                yield from (Part(f"[{at}]", item, each) for at, each in enumerate(value))

        return parts

    def structure() -> shapes.Shape:
        is_set = issubclass(cls, (set, frozenset))
        return shapes.SetShape(item.shape(), item.read, item.write) if is_set else shapes.ListShape(item.shape())

    return Schema(
        name=name,
        kinds=_LIST,
        classes=frozenset({cls}),
        read=read,
        write=write,
        describe=describe,
        read_parts=parts_of(list),
        write_parts=parts_of(cls),
        redact=of_items(item),
        keeps=keeps,
        structure=structure,
    )


def _array(item: Schema, **keywords: object) -> Describe:
    def describe(definitions: Definitions, _tag: str | None = None, /) -> JsonSchema:
        return {"type": "array", "items": item.describe(definitions), **keywords}

    return describe


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
    """Return the schema for objects that carry their tag under ``type``.

    Args:
        name: the union's readable name.
        members: its classes. Their tags and classes must differ.
    """
    writes = {member.cls: (member.tag, member.schema.write) for member in members}
    reads = {member.tag: member.schema.read for member in members}

    def read(data: Any, _: Any = None) -> Any:
        if type(data) is not dict:
            raise Fault(name, data)
        # The caller still needs the tag, for the message about a fault.
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
    """Return the schema for a union whose types JSON can distinguish.

    Raises:
        Unsupported: two members have the same class or the same JSON kind.
    """
    reading = _by_class(((kind, member) for member in members for kind in member.kinds), name, path)
    writing = _by_class(((cls, member) for member in members for cls in _own_classes(member, members)), name, path)
    # JSON writers of other languages write 1.0 as 1, and newer code whose int has become a float writes 1 as 1.0.
    for kind, other in ((float, int), (int, float)):
        if kind in reading:
            reading.setdefault(other, reading[kind])
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
        # Refused when the type is defined: a value would be read as the first member that has its form.
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
    """The one part of a union's value: the value as the member for its class."""

    members: Mapping[type, Schema]

    def __call__(self, value: Any) -> Iterator[Part]:
        member = self.members.get(type(value))
        if member is not None:
            yield Part("", member, value)


@frozen
class _Tags:
    """The one part of a tagged object: the object without its tag, as the member with that tag."""

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
