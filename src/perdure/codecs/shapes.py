"""A type's structure, to walk it and its JSON side by side: to take a value's rest off, and to put it back.

The strict readers and writers know no rests, and serve all values that this code knows. A shape is used for JSON that
a reader has refused, and for a keyed input's digest. The digest has 32 hexadecimal digits for the bare form, then a
mark for each member that this form lacks, made from the member's place in the type and its value.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import combinations, islice
from typing import Any, Final, Protocol, cast

import attrs
import orjson

from perdure.codecs.json_schema import TAG, is_whole
from perdure.codecs.unknown_members import (
    CarriedMembers,
    Element,
    NotKept,
    Place,
    ValueRest,
    places_in_dict,
    places_in_list,
    places_in_set,
)
from perdure.values.excerpt import excerpt
from perdure.values.frozen import frozen
from perdure.values.secret import HIDDEN
from perdure.values.turn_inputs import digest

_LONGEST = 80
_SIMPLE = frozenset({str, int, bool, type(None)})
_NUMBERS: tuple[frozenset[type], ...] = (frozenset({int}), frozenset({float}))


@frozen
class Unknown:
    """One place in JSON that a type does not know.

    Attributes:
        text: the unknown part, and the parts that the type knows.
        is_member: whether it is an object's member, which a rest keeps.
    """

    path: str
    text: str
    is_member: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


@attrs.frozen
class Joining:
    """Where a rest is put back.

    Attributes:
        new: the identities of objects that replace older ones, and take over no rest.
    """

    path: str
    new: Collection[int]

    def at(self, step: str) -> Joining:
        """Return the same one step below."""
        return Joining(self.path + step, self.new)

    def is_new(self, value: object) -> bool:
        """Return whether a value takes over no rest."""
        return id(value) in self.new

    def old(self, elements: Sequence[Element]) -> Sequence[Element]:
        """Return the elements that may take over a rest."""
        return [each for each in elements if id(each.held) not in self.new] if self.new else elements


class Omits(Protocol):
    """Decides which members a bare form leaves out."""

    def __call__(self, path: str, bare: Any, /, *, is_default: bool) -> bool:
        """Return whether a member is left out.

        Args:
            path: its place in the type.
            bare: its own bare form.
            is_default: whether it has its default in this code.
        """
        ...


def omits_defaults(_path: str, _bare: Any, /, *, is_default: bool) -> bool:
    """Leave out the members that have their defaults in this code."""
    return is_default


class Shape(Protocol):
    """One type's structure. No method checks JSON: where it does not fit, the strict reader refuses it."""

    def split(self, data: Any) -> tuple[Any, ValueRest | None]:
        """Take JSON apart: into the part that the type knows, and the rest."""
        ...

    def hold(self, rest: ValueRest, value: Any) -> ValueRest:
        """Return the rest with the elements that the read value has, to find them again."""
        ...

    def join(self, data: Any, value: Any, rest: ValueRest, joining: Joining) -> tuple[Any, ValueRest | None]:
        """Put an older value's rest into a newer value's JSON.

        Args:
            data: the newer value's JSON.
            value: the newer value.
            rest: the older value's rest.
            joining: the place, and the objects that take over no rest.

        Returns:
            the JSON, and its own rest.

        Raises:
            NotKept: a part has no certain place.
        """
        ...

    def carry(self, data: Any, value: Any, carried: CarriedMembers) -> Any:
        """Put the unknown members that belong to a value's objects into the value's JSON."""
        ...

    def unknown(self, data: Any, path: str) -> Iterator[Unknown]:
        """Yield the JSON's unknown parts."""
        ...

    def bare(self, data: Any, omits: Omits, path: str = "") -> Any:
        """Return JSON without members that are left out, and without the first classes' tags.

        Older code, which does not know these members or declared the class alone, writes the same value so.

        Args:
            data: the JSON.
            omits: whether a member is left out.
            path: the place in the type. All elements in a list, and all values in a dict, have one place, and so has a
                class inside itself at all depths.
        """
        ...


@attrs.frozen
class ScalarShape:
    """Everything without parts."""

    kinds: frozenset[type]

    def split(self, data: Any) -> tuple[Any, ValueRest | None]:
        return data, None

    def hold(self, rest: ValueRest, value: Any) -> ValueRest:
        return rest

    def join(self, data: Any, value: Any, rest: ValueRest, joining: Joining) -> tuple[Any, ValueRest | None]:
        return data, None

    def carry(self, data: Any, value: Any, carried: CarriedMembers) -> Any:
        return data

    def unknown(self, data: Any, path: str) -> Iterator[Unknown]:
        # 1 is a valid float in JSON, and 1.0 a valid int: no unknown forms.
        is_number = (type(data) is int and float in self.kinds) or (
            type(data) is float and int in self.kinds and is_whole(data)
        )
        if type(data) not in self.kinds and not is_number:
            yield _other_form(data, path)

    def bare(self, data: Any, omits: Omits, path: str = "") -> Any:
        # 1.0 and 1 are one number: older code with an int must compute the same fingerprint.
        return int(data) if type(data) is float and self.kinds in _NUMBERS and is_whole(data) else data


@attrs.frozen
class ChoiceShape(ScalarShape):
    """A closed scalar set, each scalar with its class."""

    values: frozenset[tuple[type, Any]]

    def unknown(self, data: Any, path: str) -> Iterator[Unknown]:
        if isinstance(data, (list, dict, float)):
            yield _other_form(data, path)
        # With the class: 1 and True are equal.
        elif (type(data), data) not in self.values:
            known = ", ".join(sorted(repr(value) for _, value in self.values))
            yield Unknown(path, f"{excerpt(data, _LONGEST)} is unknown; this code knows {known}")


@attrs.frozen
class ObjectShape:
    """An object with declared fields.

    Attributes:
        tag: the tag that the object has as a member in a union. An object that carries it is read without it: the class
            is a member in a union in newer code. An object with another tag belongs to another class and is not read.
        defaults: returns the fields' defaults as JSON, for those that have one.
    """

    name: str
    fields: Mapping[str, Shape]
    tag: str | None
    defaults: Callable[[], Mapping[str, Any]]

    def split(self, data: Any) -> tuple[Any, ValueRest | None]:
        # An object with another tag is of another class: read as this one, its fields would be taken for those of this
        # class.
        if type(data) is not dict or self._other_class(data):
            return data, None
        return self.split_members(data if not self._is_tagged(data) else _without_tag(data), None)

    def split_members(self, data: dict[str, Any], tag: str | None) -> tuple[Any, ValueRest | None]:
        """Take an object apart that carries no tag, or whose tag has been removed."""
        pairs = {key: self.fields[key].split(each) for key, each in data.items() if key in self.fields}
        unknown = {key: each for key, each in data.items() if key not in self.fields}
        return _split({key: each for key, (each, _) in pairs.items()}, pairs.items(), unknown, tag)

    def hold(self, rest: ValueRest, value: Any) -> ValueRest:
        return attrs.evolve(
            rest, parts={key: self.fields[key].hold(part, _field(value, key)) for key, part in _named(rest)}
        )

    def join(self, data: Any, value: Any, rest: ValueRest, joining: Joining) -> tuple[Any, ValueRest | None]:
        # A new object replaces the old one, and so has none of its unknown members.
        if joining.is_new(value):
            return data, None
        joined, parts = dict(data), dict[Place, ValueRest]()
        for key, part in _named(rest):
            if key in data:
                found = self.fields[key].join(data[key], _field(value, key), part, joining.at(f".{key}"))
                _put(joined, parts, key, found)
        return {**joined, **rest.unknown}, _joined(data, rest.unknown, parts, rest.tag)

    def carry(self, data: Any, value: Any, carried: CarriedMembers) -> Any:
        known = {
            key: self.fields[key].carry(each, _field(value, key), carried) if key in self.fields else each
            for key, each in data.items()
        }
        # A member that is there already was written by newer code after this object was read.
        return {**known, **{key: each for key, each in carried.members_of(value).items() if key not in known}}

    def unknown(self, data: Any, path: str) -> Iterator[Unknown]:
        if type(data) is not dict:
            yield _other_form(data, path)
        elif (other := self._other_class(data)) is not None:
            yield Unknown(path, f"an object of the class {excerpt(other, _LONGEST)}; this code knows {self.name}")
        else:
            yield from self.unknown_members(_without_tag(data) if self._is_tagged(data) else data, path)

    def unknown_members(self, data: dict[str, Any], path: str) -> Iterator[Unknown]:
        """Yield the unknown parts in an object without its tag."""
        for key, each in data.items():
            if key in self.fields:
                yield from self.fields[key].unknown(each, f"{path}.{key}")
            else:
                known = ", ".join(self.fields) or "no keys"
                yield Unknown(
                    f"{path}[{excerpt(key, _LONGEST)}]", f"unknown key; {self.name} has {known}", is_member=True
                )

    def bare(self, data: Any, omits: Omits, path: str = "") -> Any:
        if type(data) is not dict or self._other_class(data) is not None:
            return data
        return self.bare_members(_without_tag(data) if self._is_tagged(data) else data, omits, path)

    def bare_members(self, data: dict[str, Any], omits: Omits, path: str) -> dict[str, Any]:
        """Return an object without its tag, and without members that are left out."""
        found = {key: each for key, each in data.items() if key not in self.fields}
        # With the members that the sender left out: other code may have no default for them.
        for key, each in {**self.defaults(), **data}.items():
            if key in self.fields:
                bare = self.fields[key].bare(each, omits, f"{path}.{key}")
                # Once for each depth: computed twice, it would take twice as long at each level below.
                own = self.fields[key].bare(each, omits_defaults) if isinstance(omits, _AsOther) else bare
                if not omits(f"{path}.{key}", bare, is_default=self._is_default(key, each, own)):
                    found[key] = bare
        return found

    def _is_default(self, key: str, data: Any, bare: Any) -> bool:
        defaults, shape = self.defaults(), self.fields[key]
        if key not in defaults:
            return False
        default = defaults[key]
        # The common case. Not for 1, 1.0 and True, which Python takes for equal.
        if type(data) is type(default) and type(data) in _SIMPLE:
            return bool(data == default)
        own = shape.bare(default, omits_defaults)
        return type(own) is type(bare) and _text(own) == _text(bare)

    def _is_tagged(self, data: dict[str, Any]) -> bool:
        return self.tag is not None and TAG not in self.fields and data.get(TAG) == self.tag

    def _other_class(self, data: dict[str, Any]) -> str | None:
        tag = data.get(TAG)
        return tag if type(tag) is str and TAG not in self.fields and tag != self.tag and self.tag is not None else None


@attrs.frozen
class TaggedShape:
    """Objects that carry their class's tag. One without a tag has the first class, which older code declared alone."""

    members: Mapping[str, Shape]

    @property
    def first(self) -> str:
        """The tag for the class that older code declared alone."""
        # In the order of the declaration: older code declared that class alone, and wrote no tag.
        return next(iter(self.members))

    def split(self, data: Any) -> tuple[Any, ValueRest | None]:
        tag = self._tag(data)
        if tag is None or tag not in self.members:
            return data, None
        known, rest = _fields(self.members[tag]).split_members(_without_tag(data), tag)
        known = {TAG: tag, **known}
        return known, None if rest is None else attrs.evolve(rest, known=known)

    def hold(self, rest: ValueRest, value: Any) -> ValueRest:
        return self._member(rest).hold(rest, value)

    def join(self, data: Any, value: Any, rest: ValueRest, joining: Joining) -> tuple[Any, ValueRest | None]:
        # Unknown members belong to a class, also if its fields have the same names.
        if data.get(TAG) != rest.tag:
            return data, None  # this code replaced the object by one of another class
        return self._member(rest).join(data, value, rest, joining)

    def carry(self, data: Any, value: Any, carried: CarriedMembers) -> Any:
        return self.members[data[TAG]].carry(data, value, carried)

    def unknown(self, data: Any, path: str) -> Iterator[Unknown]:
        tag = self._tag(data)
        if type(data) is not dict:
            yield _other_form(data, path)
        elif tag is not None and tag in self.members:
            yield from _fields(self.members[tag]).unknown_members(_without_tag(data), path)
        elif tag is not None:
            known = ", ".join(self.members)
            yield Unknown(path, f"an object of the class {excerpt(tag, _LONGEST)}; this code knows {known}")

    def bare(self, data: Any, omits: Omits, path: str = "") -> Any:
        tag = self._tag(data)
        if tag is None or tag not in self.members:
            return data
        is_first = tag == self.first
        # The first class has the place that it has alone: older code declared it so.
        member, place = self.members[tag], path if is_first else f"{path}|{tag}"
        members = _fields(member).bare_members(_without_tag(data), omits, _place_in_type(member, place))
        return members if is_first else {TAG: tag, **members}

    def _tag(self, data: Any) -> str | None:
        tag = data.get(TAG, self.first) if type(data) is dict else None
        return tag if type(tag) is str else None

    def _member(self, rest: ValueRest) -> Shape:
        return self.members[rest.tag or self.first]


@attrs.frozen
class UnionShape:
    """A union whose member is selected by the JSON's kind."""

    members: Mapping[type, Shape]

    def split(self, data: Any) -> tuple[Any, ValueRest | None]:
        member = self.members.get(type(data))
        return (data, None) if member is None else member.split(data)

    def hold(self, rest: ValueRest, value: Any) -> ValueRest:
        return self.members[type(rest.known)].hold(rest, value)

    def join(self, data: Any, value: Any, rest: ValueRest, joining: Joining) -> tuple[Any, ValueRest | None]:
        if type(data) is not type(rest.known):
            return data, None  # this code replaced the value by one of another type
        return self.members[type(data)].join(data, value, rest, joining)

    def carry(self, data: Any, value: Any, carried: CarriedMembers) -> Any:
        member = self.members.get(type(data))
        return data if member is None else member.carry(data, value, carried)

    def unknown(self, data: Any, path: str) -> Iterator[Unknown]:
        member = self.members.get(type(data))
        return iter((_other_form(data, path),)) if member is None else member.unknown(data, path)

    def bare(self, data: Any, omits: Omits, path: str = "") -> Any:
        member = self.members.get(type(data))
        # Where the union has both, 1.0 and 1 are different values.
        is_apart = type(data) is float and self.members.get(int, member) != member  # an int would be another value
        return data if member is None or is_apart else member.bare(data, omits, path)


@attrs.frozen
class TupleShape:
    """A fixed tuple: each element stays at its place."""

    items: Sequence[Shape]

    def split(self, data: Any) -> tuple[Any, ValueRest | None]:
        if type(data) is not list or len(data) != len(self.items):
            return data, None
        pairs = [item.split(each) for item, each in zip(self.items, data, strict=True)]
        return _split([each for each, _ in pairs], enumerate(pairs))

    def hold(self, rest: ValueRest, value: Any) -> ValueRest:
        return attrs.evolve(rest, parts={at: self.items[at].hold(part, value[at]) for at, part in _placed(rest)})

    def join(self, data: Any, value: Any, rest: ValueRest, joining: Joining) -> tuple[Any, ValueRest | None]:
        joined, parts = list(data), dict[Place, ValueRest]()
        for at, part in _placed(rest):
            _put(joined, parts, at, self.items[at].join(data[at], value[at], part, joining.at(f"[{at}]")))
        return joined, _joined(data, {}, parts)

    def carry(self, data: Any, value: Any, carried: CarriedMembers) -> Any:
        parts = zip(self.items, data, value, strict=True)
        return [item.carry(each, held, carried) for item, each, held in parts]

    def unknown(self, data: Any, path: str) -> Iterator[Unknown]:
        if type(data) is not list or len(data) != len(self.items):
            yield _other_form(data, path)
        else:
            for at, (item, each) in enumerate(zip(self.items, data, strict=True)):
                yield from item.unknown(each, f"{path}[{at}]")

    def bare(self, data: Any, omits: Omits, path: str = "") -> Any:
        if type(data) is not list or len(data) != len(self.items):
            return data
        pairs = enumerate(zip(self.items, data, strict=True))
        return [item.bare(each, omits, f"{path}[{at}]") for at, (item, each) in pairs]


@attrs.frozen
class ListShape:
    """A list, or a tuple with any length."""

    item: Shape

    def split(self, data: Any) -> tuple[Any, ValueRest | None]:
        if type(data) is not list:
            return data, None
        # Each element with its rest: a list is the most usual place for members that newer code adds.
        pairs = [self.item.split(each) for each in data]
        return _split([each for each, _ in pairs], enumerate(pairs))

    def hold(self, rest: ValueRest, value: Any) -> ValueRest:
        held = list(value)
        parts: dict[Place, ValueRest] = {at: self.item.hold(part, held[at]) for at, part in _placed(rest)}
        return attrs.evolve(rest, parts=parts, held=dict(enumerate(held)))

    def join(self, data: Any, value: Any, rest: ValueRest, joining: Joining) -> tuple[Any, ValueRest | None]:
        news = [Element(at, each, held) for at, (each, held) in enumerate(zip(data, value, strict=True))]
        joined, parts = self.join_found(news, rest, places_in_list(rest, joining.old(news), joining.path), joining)
        return joined, _joined(data, {}, parts, held=dict(enumerate(value)))

    def carry(self, data: Any, value: Any, carried: CarriedMembers) -> Any:
        return [self.item.carry(each, held, carried) for each, held in zip(data, value, strict=True)]

    def join_found(
        self, news: Sequence[Element], rest: ValueRest, found: Iterable[tuple[Place, Place]], joining: Joining
    ) -> tuple[list[Any], dict[Place, ValueRest]]:
        """Put each element's rest into its new place."""
        joined, parts = [each.data for each in news], dict[Place, ValueRest]()
        for old, new in found:
            at = int(new)
            each = self.item.join(news[at].data, news[at].held, rest.parts[old], joining.at(f"[{at}]"))
            _put(joined, parts, at, each)
        return joined, parts

    def unknown(self, data: Any, path: str) -> Iterator[Unknown]:
        if type(data) is not list:
            yield _other_form(data, path)
        else:
            for at, each in enumerate(data):
                yield from self.item.unknown(each, f"{path}[{at}]")

    def bare(self, data: Any, omits: Omits, path: str = "") -> Any:
        return [self.item.bare(each, omits, f"{path}[]") for each in data] if type(data) is list else data


@attrs.frozen
class SetShape(ListShape):
    """A set: its elements are found by their known JSON alone, and sorted by their complete JSON."""

    read: Callable[[Any, Any], Any]
    write: Callable[[Any], Any]

    def hold(self, rest: ValueRest, value: Any) -> ValueRest:
        # Read and written again: other code may have written one element as another text, such as 1 for 1.0.
        found = {self._text(each): each for each in value}
        return super().hold(rest, [found[self._text(self.read(each, None))] for each in rest.known])

    def _text(self, element: Any) -> bytes:
        return orjson.dumps(self.write(element))

    def _sorted(self, value: Any) -> list[Any]:
        """Return a set's elements in the order of its JSON."""
        return sorted(value, key=self._text)

    def join(self, data: Any, value: Any, rest: ValueRest, joining: Joining) -> tuple[Any, ValueRest | None]:
        news = [Element(at, each, held) for at, (each, held) in enumerate(zip(data, self._sorted(value), strict=True))]
        joined, parts = self.join_found(news, rest, places_in_set(rest, news, joining.path), joining)
        # Sorted with the unknown members, as newer code sorts it: the text of one value must be the same.
        order = sorted(range(len(joined)), key=lambda at: orjson.dumps(joined[at]))
        moved: dict[Place, ValueRest] = {to: parts[at] for to, at in enumerate(order) if at in parts}
        held: dict[Place, Any] = {to: news[at].held for to, at in enumerate(order)}
        return [joined[at] for at in order], _joined([data[at] for at in order], {}, moved, held=held)

    def carry(self, data: Any, value: Any, carried: CarriedMembers) -> Any:
        return sorted(super().carry(data, self._sorted(value), carried), key=orjson.dumps)

    def unknown(self, data: Any, path: str) -> Iterator[Unknown]:
        yield from super().unknown(data, path)
        known, rest = self.split(data)
        # Read as a set, they would become one element, and the members of the others would be lost.
        if rest is not None and len({orjson.dumps(each) for each in known}) < len(known):
            yield Unknown(path, "members of a set that are equal to this code, and different to newer code")

    def bare(self, data: Any, omits: Omits, path: str = "") -> Any:
        found = super().bare(data, omits, path)
        return sorted(found, key=_text) if type(found) is list else found


@attrs.frozen
class DictShape:
    """A dict."""

    key: Shape
    value: Shape
    write_key: Callable[[Any], str]
    is_secret: bool

    def split(self, data: Any) -> tuple[Any, ValueRest | None]:
        if type(data) is not dict:
            return data, None
        pairs = {key: self.value.split(each) for key, each in data.items()}
        return _split({key: each for key, (each, _) in pairs.items()}, pairs.items())

    def hold(self, rest: ValueRest, value: Any) -> ValueRest:
        held = self._held(value)
        parts: dict[Place, ValueRest] = {key: self.value.hold(part, held[key]) for key, part in _named(rest)}
        return attrs.evolve(rest, parts=parts, held=held)

    def join(self, data: Any, value: Any, rest: ValueRest, joining: Joining) -> tuple[Any, ValueRest | None]:
        held = self._held(value)
        news = [Element(key, each, held[key]) for key, each in data.items()]
        joined, parts = dict(data), dict[Place, ValueRest]()
        for old, new in places_in_dict(rest, joining.old(news), joining.path):
            key = str(new)
            part = self.value.join(data[key], held[key], rest.parts[old], joining.at(self._path("", key)))
            _put(joined, parts, key, part)
        return joined, _joined(data, {}, parts, held=held)

    def carry(self, data: Any, value: Any, carried: CarriedMembers) -> Any:
        held = self._held(value)
        return {key: self.value.carry(each, held[key], carried) for key, each in data.items()}

    def unknown(self, data: Any, path: str) -> Iterator[Unknown]:
        if type(data) is not dict:
            yield _other_form(data, path)
        else:
            for key, each in data.items():
                yield from self.key.unknown(key, self._path(path, key))
                yield from self.value.unknown(each, self._path(path, key))

    def bare(self, data: Any, omits: Omits, path: str = "") -> Any:
        if type(data) is not dict:
            return data
        return {key: self.value.bare(each, omits, f"{path}{{}}") for key, each in data.items()}

    def _held(self, value: Any) -> dict[Place, Any]:
        return {self.write_key(key): each for key, each in value.items()}

    def _path(self, path: str, key: str) -> str:
        # A key may be the secret, such as a token.
        return f"{path}[{HIDDEN if self.is_secret else excerpt(key, _LONGEST)}]"


@attrs.frozen
class RecursiveShape:
    """A class inside itself, whose shape is known later."""

    shape: Callable[[], Shape]

    def split(self, data: Any) -> tuple[Any, ValueRest | None]:
        return self.shape().split(data)

    def hold(self, rest: ValueRest, value: Any) -> ValueRest:
        return self.shape().hold(rest, value)

    def join(self, data: Any, value: Any, rest: ValueRest, joining: Joining) -> tuple[Any, ValueRest | None]:
        return self.shape().join(data, value, rest, joining)

    def carry(self, data: Any, value: Any, carried: CarriedMembers) -> Any:
        return self.shape().carry(data, value, carried)

    def unknown(self, data: Any, path: str) -> Iterator[Unknown]:
        return self.shape().unknown(data, path)

    def bare(self, data: Any, omits: Omits, path: str = "") -> Any:
        return self.shape().bare(data, omits, _place_in_type(self, path))


@attrs.frozen
class SecretShape:
    """A secret: no message shows any part."""

    shape: Shape

    def split(self, data: Any) -> tuple[Any, ValueRest | None]:
        return self.shape.split(data)

    def hold(self, rest: ValueRest, value: Any) -> ValueRest:
        return self.shape.hold(rest, value)

    def join(self, data: Any, value: Any, rest: ValueRest, joining: Joining) -> tuple[Any, ValueRest | None]:
        try:
            return self.shape.join(data, value, rest, joining)
        except NotKept:
            # Without the inner path and its cause: both may print a part of the secret.
            raise NotKept(joining.path, "newer code wrote into it, and a part was changed or replaced") from None

    def carry(self, data: Any, value: Any, carried: CarriedMembers) -> Any:
        return self.shape.carry(data, value, carried)

    def unknown(self, data: Any, path: str) -> Iterator[Unknown]:
        found = list(self.shape.unknown(data, path))
        if found:
            # One line for all: names of keys and choices in a secret are secret as well.
            yield Unknown(path, "a part that is unknown to this code", is_member=all(each.is_member for each in found))

    def bare(self, data: Any, omits: Omits, path: str = "") -> Any:
        return self.shape.bare(data, omits, path)


def _text(data: Any) -> bytes:
    return orjson.dumps(data, option=orjson.OPT_SORT_KEYS)


def _split(
    known: Any,
    pairs: Iterable[tuple[Place, tuple[Any, ValueRest | None]]],
    unknown: Mapping[str, Any] | None = None,
    tag: str | None = None,
) -> tuple[Any, ValueRest | None]:
    parts = {place: rest for place, (_, rest) in pairs if rest is not None}
    return known, ValueRest(known=known, unknown=unknown or {}, parts=parts, tag=tag) if unknown or parts else None


def _joined(
    known: Any,
    unknown: Mapping[str, Any],
    parts: Mapping[Place, ValueRest],
    tag: str | None = None,
    held: Mapping[Place, Any] | None = None,
) -> ValueRest | None:
    if not unknown and not parts:
        return None
    return ValueRest(known=known, unknown=unknown, parts=parts, tag=tag, held=held or {})


def _put(joined: Any, parts: dict[Place, ValueRest], place: Place, found: tuple[Any, ValueRest | None]) -> None:
    joined[place], rest = found
    if rest is not None:
        parts[place] = rest


def _named(rest: ValueRest) -> Iterator[tuple[str, ValueRest]]:
    return ((str(place), part) for place, part in rest.parts.items())


def _placed(rest: ValueRest) -> Iterator[tuple[int, ValueRest]]:
    return ((int(place), part) for place, part in rest.parts.items())


def _fields(shape: Shape) -> ObjectShape:
    """Return the shape of a union's member, which is a class with fields, or one inside itself."""
    return _fields(shape.shape()) if isinstance(shape, RecursiveShape) else cast("ObjectShape", shape)


def _place_in_type(shape: Shape, path: str) -> str:
    """Return a part's place in its type. A class inside itself has one place at each depth: digests have a bound."""
    return f"^{_fields(shape).name}" if isinstance(shape, RecursiveShape) else path


def _field(value: Any, key: str) -> Any:
    return value[key] if type(value) is dict else getattr(value, key)


def _without_tag(data: dict[str, Any]) -> dict[str, Any]:
    return {key: each for key, each in data.items() if key != TAG}


def _other_form(data: Any, path: str) -> Unknown:
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        type(None): "null",
        int: "an integer",
    }
    return Unknown(path, f"{names.get(type(data), 'a number with a point')}, which this code does not read here")


# ---------------------------------------------------------------- one input in two versions of the code
_DIGITS: Final = 32
_PLACE: Final = 4
_MARK: Final = 12

_MOST_BYTES: Final = 262_144
"""How many bytes of an input are compared, over all its forms."""

_MOST_FORMS: Final = 64
"""How many forms of an input are compared: one for each set of members that only this code may leave out, and the other
one requires. The sets of no member and of one are always tried, and the smaller ones first."""


def digest_of(shape: Shape, data: Any) -> str:
    """Return an input's digest."""
    marks = _Marks()
    return _digest(shape.bare(data, marks)) + "".join(sorted(marks.of.values()))


def is_same_input(shape: Shape, data: Any, first: str, *, size: int) -> bool:
    """Return whether an input has the same digest as another one, which another code version may have computed.

    Two code versions may read one input differently in one way: a member has its default in one version, which leaves
    it out, and not in the other one, which does not know it or requires it.

    Args:
        shape: the input type's shape.
        data: the input's JSON.
        first: the other input's digest.
        size: the JSON's size in bytes. A large input is compared in fewer forms, because each one costs a walk.
    """
    bare, others = first[:_DIGITS], _marked(first[_DIGITS:])
    # At least one way: a large input is compared, too.
    ways = islice(_ways(shape, data, others), max(1, _MOST_BYTES // size))
    return any(_digest(shape.bare(data, each)) == bare for each in ways)


def _ways(shape: Shape, data: Any, others: Mapping[str, Collection[str]]) -> Iterator[_AsOther]:
    """Yield the ways in which the other code may have left members out."""
    own = _Marks()
    shape.bare(data, own)
    # The other code has no default for these: it does not know them, or it requires them.
    places = sorted({_place_of(mark) for mark in own.of.values()} - others.keys())
    sets = (kept for number in range(len(places) + 1) for kept in combinations(places, number))
    for kept in islice(sets, max(_MOST_FORMS, 1 + len(places))):
        yield _AsOther(others, frozenset(kept))


@attrs.frozen
class _Marks:
    """Leaves out and notes the members that have defaults in this code.

    Attributes:
        of: each member's mark, by its place.
    """

    of: dict[str, str] = attrs.field(factory=dict[str, str])

    def __call__(self, path: str, bare: Any, /, *, is_default: bool) -> bool:
        # Once for each place: the elements of a list share it.
        if is_default and path not in self.of:
            self.of[path] = _mark_of_default(path, _text(bare))
        return is_default


@attrs.frozen
class _AsOther:
    """Leaves out the members that other code has left out.

    Attributes:
        others: the values that other code leaves out, by their places.
        kept: places whose members have their defaults in this code only.
    """

    others: Mapping[str, Collection[str]]
    kept: Collection[str]

    def __call__(self, path: str, bare: Any, /, *, is_default: bool) -> bool:
        if not is_default and not self.others:
            return False
        mark = _mark(path, _text(bare))
        place = _place_of(mark)
        # Where both have a default, that of the other code: the values differ if the defaults do.
        return mark in self.others[place] if place in self.others else is_default and place not in self.kept


def _digest(bare: Any) -> str:
    return digest(_text(bare)).hex()


def _mark(path: str, text: bytes) -> str:
    return b2a_base64(digest(path.encode())[:3] + digest(text)[:6], newline=False).decode()


_mark_of_default: Final = lru_cache(1_024)(_mark)
"""Defaults are few, and come again with each input. The values of other members may be large, and are not kept."""


def _place_of(mark: str) -> str:
    return mark[:_PLACE]


def _marked(marks: str) -> dict[str, set[str]]:
    found = dict[str, set[str]]()
    for at in range(0, len(marks), _MARK):
        mark = marks[at : at + _MARK]
        found.setdefault(_place_of(mark), set()).add(mark)
    return found
