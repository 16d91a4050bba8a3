"""Whether code with one JSON Schema for a type reads the JSON that code with another schema writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, cast

import attrs

from perdure.codecs.json_schema import OWN_TAG, REFERENCE, TAG, UNTAGGED, JsonSchema
from perdure.values.frozen import frozen

Kind: TypeAlias = Literal[
    "unknown member",
    "unknown class",
    "unknown choice",
    "fraction",
    "other form",
    "other type",
    "missing member",
    "other first class",
]
"""How a reader's type differs from a writer's.

- ``unknown member``: the writer's objects have a member that the reader does not know. It keeps the member of a stored
  value, drops that of an answer, and refuses that of an input.
- ``unknown class``, ``unknown choice``, ``other form``: some values have a class, a choice or a kind of JSON that the
  reader does not know. It reads all others.
- ``fraction``: the reader's number is an integer. It reads ``1.0``, and no fraction.
- ``other type``: the values look alike, and the reader expects other ones.
- ``missing member``: the reader needs a member that the writer's objects may lack.
- ``other first class``: older code may have stored an object without a tag, and the reader takes it for another class
  than the writer does.
"""


@frozen
class Difference:
    """One place where a reader does not read all that a writer writes.

    Attributes:
        path: the place in the type, such as ``$.lines[].gift``.
        name: the class or the choice. Empty for the other kinds.
    """

    path: str
    kind: Kind
    name: str = ""


@frozen
class Verdict:
    """How a type change affects code that reads old and new values.

    Attributes:
        forwards: the parts in old values that the new code does not know.
        backwards: the parts in new values that the old code does not know.
    """

    forwards: tuple[Difference, ...]
    backwards: tuple[Difference, ...]

    @property
    def is_additive(self) -> bool:
        """Whether the new code reads every value that the old code writes, and knows all its parts.

        Then both may run side by side, and the old code may return: it keeps or leaves the unknown parts.
        """
        return not self.forwards


def verdict(old: JsonSchema, new: JsonSchema) -> Verdict:
    """Judge a type's change.

    Args:
        old: the type's complete JSON Schema in the old code, as `Codec.json_schema` returns it.
        new: that in the new code.
    """
    return Verdict(unread(old, new), unread(new, old))


def unread(writer: JsonSchema, reader: JsonSchema) -> tuple[Difference, ...]:
    """Return the parts that code with one JSON Schema writes and code with another one does not know."""
    comparison = _Comparison(_definitions(writer), _definitions(reader))
    return tuple(dict.fromkeys(comparison.types(writer, reader, "$")))


_Schema: TypeAlias = Mapping[str, Any]  # keywords have values of all types


def _definitions(schema: JsonSchema) -> Mapping[str, _Schema]:
    return cast("Mapping[str, _Schema]", schema.get("$defs", {}))


@attrs.frozen
class _Comparison:
    """Compares a writer's and a reader's types, in which classes may contain themselves."""

    written: Mapping[str, _Schema]
    read: Mapping[str, _Schema]
    _found: dict[tuple[str, str], tuple[Difference, ...]] = attrs.field(
        factory=dict[tuple[str, str], tuple[Difference, ...]], init=False
    )

    def types(self, written: _Schema, read: _Schema, path: str) -> Iterator[Difference]:
        if "$ref" not in written or "$ref" not in read:
            yield from self._alternatives(written, read, path)
            return
        pair = written["$ref"], read["$ref"]
        if pair not in self._found:
            # Set before the comparison: a class that contains itself would recurse without end.
            self._found[pair] = ()  # of a class inside itself, which is compared already
            self._found[pair] = tuple(self._alternatives(written, read, ""))
        for each in self._found[pair]:
            yield attrs.evolve(each, path=path + each.path)

    def _alternatives(self, written: _Schema, read: _Schema, path: str) -> Iterator[Difference]:
        writes, reads = list(_flat(written, self.written)), list(_flat(read, self.read))
        if any(map(_is_any, reads)):
            return
        first, other = _first(writes), _first(reads)
        # Objects without a tag would be read as another class, without any error.
        if None not in (first, other) and first != other:
            yield Difference(path, "other first class", str(first))
        for each in writes:
            if "enum" in each:
                yield from _choices(each, reads, path)
            elif (reader := next((other for other in reads if _fits(each, other)), None)) is None:
                yield Difference(path, _mismatch(each, reads), _tag(each) or "")
            else:
                yield from self._parts(each, reader, path)

    def _parts(self, written: _Schema, read: _Schema, path: str) -> Iterator[Difference]:
        if "prefixItems" in written:
            for at, (one, other) in enumerate(zip(written["prefixItems"], read["prefixItems"], strict=True)):
                yield from self.types(one, other, f"{path}[{at}]")
        elif "items" in written:
            yield from self.types(written["items"], read["items"], f"{path}[]")
        elif _is_dict(written):
            yield from self.types(_keys(written), _keys(read), f"{path}.<key>")
            yield from self.types(written["additionalProperties"], read["additionalProperties"], f"{path}[]")
        elif written.get("type") == "object":
            yield from self._members(written, read, path)

    def _members(self, written: _Schema, read: _Schema, path: str) -> Iterator[Difference]:
        known = _fields(read)
        for name, member in _fields(written).items():
            if name in known:
                yield from self.types(member, known[name], f"{path}.{name}")
            else:
                yield Difference(f"{path}.{name}", "unknown member")
        for name in read.get("required", ()):
            # The writer may leave it out, and the strict reader would refuse the value: not additive.
            if name in known and name not in written.get("required", ()):
                yield Difference(f"{path}.{name}", "missing member")


def _flat(schema: _Schema, definitions: Mapping[str, _Schema], first: str | None = None) -> Iterator[_Schema]:
    """Yield a union's members. A tagged one comes with the tag that an object without a tag has."""
    if "$ref" in schema:
        yield from _flat(definitions[schema["$ref"].removeprefix(REFERENCE)], definitions, first)
    elif members := schema.get("oneOf") or schema.get("anyOf"):
        for member in members:
            yield from _flat(member, definitions, schema.get(UNTAGGED, first))
    else:
        tag = _tag(schema)
        yield schema if tag is None else {**schema, UNTAGGED: first or tag}


def _first(members: Sequence[_Schema]) -> str | None:
    """Return the tag that an object without one has."""
    return next((member[UNTAGGED] for member in members if UNTAGGED in member), None)


def _tag(schema: _Schema) -> str | None:
    if schema.get("type") != "object":
        return None
    found: str | None = schema.get("properties", {}).get(TAG, {}).get("const")
    return found


def _own_tag(schema: _Schema) -> str | None:
    """Return the tag that a class without one has as a member in a union."""
    found: str | None = schema.get(OWN_TAG, schema.get("title"))
    return found


def _fields(schema: _Schema) -> Mapping[str, _Schema]:
    members: Mapping[str, _Schema] = schema.get("properties", {})
    return {name: member for name, member in members.items() if name != TAG or "const" not in member}


def _keys(schema: _Schema) -> _Schema:
    found: _Schema = schema.get("propertyNames", {"type": "string"})
    return found


def _is_any(schema: _Schema) -> bool:
    return "type" not in schema and "enum" not in schema


def _is_dict(schema: _Schema) -> bool:
    return isinstance(schema.get("additionalProperties"), Mapping)


def _is_narrow(schema: _Schema) -> bool:
    return "format" in schema or "pattern" in schema


_JSON_TYPES: Final[Mapping[type, str]] = {str: "string", int: "integer", bool: "boolean", type(None): "null"}


def _choices(written: _Schema, reads: Sequence[_Schema], path: str) -> Iterator[Difference]:
    # With the type: 1, True and 1.0 are equal in Python, and different in JSON.
    known: set[tuple[type, object]] = {(type(value), value) for read in reads for value in read.get("enum", ())}
    kinds = {str(read.get("type")) for read in reads if "enum" not in read and not _is_narrow(read)}
    if "number" in kinds:
        kinds.add("integer")
    for value in written["enum"]:
        if (type(value), value) not in known and _JSON_TYPES[type(value)] not in kinds:
            yield Difference(path, "unknown choice", repr(value))


def _mismatch(written: _Schema, reads: Sequence[_Schema]) -> Kind:
    """Return why none of the reader's types fits."""
    if _tag(written) is not None:
        return "unknown class"
    if written.get("type") == "number" and any(read.get("type") == "integer" for read in reads):
        return "fraction"
    return "other type" if any(read.get("type") == written.get("type") for read in reads) else "other form"


def _fits(written: _Schema, read: _Schema) -> bool:
    """Return whether a reader's type reads the JSON that a writer's type has, if the parts fit."""
    if _is_any(written) or "enum" in read:
        return False
    match written["type"], read.get("type"):
        case "integer", "number":
            return True
        case one, other if one != other:
            return False
        case "object", _:
            return _fits_object(written, read)
        case "array", _:
            return _fits_array(written, read)
        case _:
            narrow = [(each.get("format"), each.get("pattern")) for each in (written, read)]
            return not _is_narrow(read) or narrow[0] == narrow[1]


def _fits_object(written: _Schema, read: _Schema) -> bool:
    if _is_dict(written) or _is_dict(read):
        return _is_dict(written) and _is_dict(read)
    match _tag(written), _tag(read):
        case None, None:
            return True
        # A class that became a union is the usual evolution, and is compatible only if it stays the first one.
        case None, tag:  # the first class of a union reads an object without a tag
            return read[UNTAGGED] == tag and (tag == _own_tag(written) or read.get("title") == written.get("title"))
        case tag, None:
            return _own_tag(read) == tag
        case one, other:
            return one == other


def _fits_array(written: _Schema, read: _Schema) -> bool:
    fixed = [None if each.get("maxItems") is None else len(each.get("prefixItems", ())) for each in (written, read)]
    return fixed[0] == fixed[1] and (bool(written.get("uniqueItems")) or not read.get("uniqueItems"))
