"""From a declared type to its shape: the one place that says which types can be stored."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping, MutableMapping
from enum import Enum
from typing import Annotated, Any, Final, Literal, NewType, Union, get_args, get_origin

import attrs
from typing_extensions import TypeAliasType

from perdure.codecs.checked_schema import checked_schema
from perdure.codecs.choices import enum_shape, literal_shape
from perdure.codecs.containers import dict_shape, list_shape, row_shape, set_shape, tuple_shape
from perdure.codecs.fields import Declaration, declaration_of, substituted
from perdure.codecs.json_value import PLAIN
from perdure.codecs.names import describe_type
from perdure.codecs.records import RESERVED, record_shape
from perdure.codecs.scalars import INT_KEY, SCALARS
from perdure.codecs.schema import Schema
from perdure.codecs.unions import TAG, Member, tagged_shape, union_shape
from perdure.codecs.unsupported import Unsupported, advice

_UNIONS = (Union, types.UnionType)
# up to Python 3.13, typing_extensions has a class of its own beside that of the `type` statement
_ALIASES: Final[tuple[type[Any], ...]] = (TypeAliasType, getattr(typing, "TypeAliasType", TypeAliasType))
_DICTS = (dict, Mapping, MutableMapping)


@attrs.define(kw_only=True)
class Grammar:
    """Builds the shapes of one declared type, and remembers what the codec must know of it.

    Attributes:
        tags: the pinned tag of each class that has one.
        tagged: the pinned classes that were met.
        doubtful: some class may change its fields while it is built, so that only reading back proves what was written.
        unbounded: values may nest without end.
    """

    tags: Mapping[type, str]
    tagged: set[type] = attrs.field(factory=set[type])
    doubtful: bool = False
    unbounded: bool = False
    _done: dict[Any, Schema] = attrs.field(factory=dict[Any, Schema], init=False)
    _open: set[Any] = attrs.field(factory=set[Any], init=False)

    def shape(self, form: Any, path: str) -> Schema:
        """Build the shape of a type, tagged if its class is pinned.

        Args:
            form: what an annotation may be.
            path: where it stands in the declared type.

        Raises:
            Unsupported: it has no JSON form.
        """
        form = stripped(form)
        if get_origin(form) in _UNIONS:
            return self._union(form, path)
        declared = declaration_of(form, path)
        if declared is None:
            return self._simple(form, path)
        record = self._record(form, declared, path)
        if declared.cls in self.tags and not declared.typed_dict:
            return tagged_shape(record.name, self._members([(declared, record)], path))
        return record

    def _simple(self, form: Any, path: str) -> Schema:
        if form in (Any, object):
            self.unbounded = True
            return PLAIN
        if isinstance(form, type) and form in SCALARS:
            return SCALARS[form]
        if isinstance(form, type) and issubclass(form, Enum):
            return enum_shape(form, path)
        if get_origin(form) is Literal:
            return literal_shape(describe_type(form), get_args(form), path)
        return self._container(form, path)

    def _container(self, form: Any, path: str) -> Schema:
        cls, args, name = get_origin(form) or form, get_args(form), describe_type(form)
        if cls in _DICTS:
            key, value = args or (str, object)
            return dict_shape(name, self._key(key, path), self.shape(value, f"{path}[]"))
        if cls is list:
            return list_shape(name, self.shape(args[0] if args else object, f"{path}[]"))
        if cls is set or cls is frozenset:
            return set_shape(name, cls, self.shape(args[0] if args else object, f"{path}[]"))
        if cls is tuple:
            return self._tuple(form, name, path)
        raise Unsupported(path, form, advice(form))

    def _tuple(self, form: Any, name: str, path: str) -> Schema:
        args = get_args(form) if get_origin(form) else (object, ...)
        if args[1:] == (...,):
            return tuple_shape(name, self.shape(args[0], f"{path}[]"))
        return row_shape(name, [self.shape(arg, f"{path}[{at}]") for at, arg in enumerate(args)])

    def _key(self, form: Any, path: str) -> Schema:
        key = INT_KEY if stripped(form) is int else self.shape(form, f"{path}.<key>")
        if key.kinds != frozenset({str}):
            raise Unsupported(f"{path}.<key>", form, "keys that are text in JSON: str, int, UUID, date, Enum")
        return key

    def _union(self, form: Any, path: str) -> Schema:
        name = describe_type(form)
        records, others, literals = dict[Any, Declaration](), list[Schema](), list[Any]()
        for member in flattened(form):
            declared = declaration_of(member, path)
            if declared is not None and not declared.typed_dict:
                records[member] = declared
            elif get_origin(member) is Literal:
                literals += get_args(member)
            else:
                others.append(self.shape(member, path))
        if literals:
            others.append(literal_shape(f"Literal[{', '.join(map(repr, literals))}]", tuple(literals), path))
        objects = self._objects(name, records, path)
        members = [*objects, *others]
        return union_shape(name, members, path) if len(members) > 1 else members[0]

    def _objects(self, name: str, records: Mapping[Any, Declaration], path: str) -> list[Schema]:
        found = [
            (declared, self._record(form, declared, f"{path}({declared.cls.__name__})"))
            for form, declared in records.items()
        ]
        if len(found) > 1 or any(declared.cls in self.tags for declared, _ in found):
            return [tagged_shape(name, self._members(found, path))]
        return [record for _, record in found]

    def _members(self, found: list[tuple[Declaration, Schema]], path: str) -> list[Member]:
        members: dict[str, Member] = {}
        for declared, record in found:
            cls = declared.cls
            tag = self.tags.get(cls, cls.__name__)
            if any(field.name == TAG for field in declared.fields):
                at = f"{path}({cls.__name__}).{TAG}"
                raise Unsupported(at, cls, f"no field named {TAG!r}: the union's tag has that key")
            if cls in {member.cls for member in members.values()}:
                raise Unsupported(path, cls, "each class once: its arguments do not tell two members apart")
            if tag in members:
                raise Unsupported(path, f"{tag!r} twice", "tags that differ: tags={Class: 'stable-name'}")
            members[tag] = Member(tag, cls, record)
            self.tagged.add(cls)
        return list(members.values())

    def _record(self, form: Any, declared: Declaration, path: str) -> Schema:
        if form in self._done:
            return self._done[form]
        if form in self._open:
            self.unbounded = True
            cls = dict if declared.typed_dict else declared.cls
            return checked_schema(describe_type(form), cls, lambda: self._done[form])
        for field in declared.fields:
            if field.name in RESERVED or field.name.startswith("_cattrs_"):
                raise Unsupported(
                    f"{path}.{field.name}", declared.cls, "another name for that field; this one is reserved"
                )
        self._open.add(form)
        self.doubtful |= not declared.proven
        shapes = {field.name: self.shape(field.form, f"{path}.{field.name}") for field in declared.fields}
        self._done[form] = record_shape(form, describe_type(form), declared, shapes)
        return self._done[form]


def stripped(form: Any) -> Any:
    """Look through what adds nothing to the JSON: ``Annotated``, ``Final``, ``NewType``, type aliases."""
    inner = _inner(form)
    return form if inner is form else stripped(inner)


def _inner(form: Any) -> Any:
    origin = get_origin(form)
    if form is None:
        return type(None)
    if origin is Annotated or origin is Final:
        return get_args(form)[0]
    if isinstance(form, NewType):
        return form.__supertype__
    if isinstance(form, _ALIASES):
        return form.__value__
    if isinstance(origin, _ALIASES):
        return substituted(origin.__value__, dict(zip(origin.__type_params__, get_args(form), strict=True)))
    return form


def flattened(form: Any) -> Iterator[Any]:
    """Give the members of a union, those of unions inside it too; of any other type, itself."""
    form = stripped(form)
    if get_origin(form) in _UNIONS:
        for member in get_args(form):
            yield from flattened(member)
    else:
        yield form
