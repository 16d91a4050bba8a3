"""A declared type's schema: this module decides which types can be stored."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping, MutableMapping
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NewType, Union, get_args, get_origin

import attrs
from typing_extensions import TypeAliasType

from perdure._lazy import lazy_module
from perdure.codecs.composites import (
    Member,
    dict_schema,
    fixed_tuple_schema,
    list_schema,
    set_schema,
    tagged_schema,
    tuple_schema,
    union_schema,
)
from perdure.codecs.json_schema import TAG, Unsupported, advice, describe_type
from perdure.codecs.records import RESERVED, declaration_of, record_schema, substituted
from perdure.codecs.scalars import INT_KEY, PLAIN, SCALARS, enum_schema, literal_schema
from perdure.codecs.schema import Declaration, Schema, StoredAs, checked_schema, secret_schema, stored_schema
from perdure.values.secret import is_marked, is_model

if TYPE_CHECKING:
    from perdure.codecs import models
else:
    models = lazy_module("perdure.codecs.models")  # for classes of pydantic and msgspec only

_UNIONS = (Union, types.UnionType)
# up to Python 3.13, typing_extensions has its own class in addition to that of the `type` statement
_ALIASES: Final[tuple[type[Any], ...]] = (TypeAliasType, getattr(typing, "TypeAliasType", TypeAliasType))
_DICTS = (dict, Mapping, MutableMapping)


@attrs.define(kw_only=True)
class Grammar:
    """Builds one declared type's schemas, and records properties that the codec needs.

    Attributes:
        tags: each class's pinned tag, if it has one.
        tagged: the pinned classes that occur in the type.
        mutable: the classes whose instances can be changed, each with the path where it first occurs.
        needs_round_trip: a class may change its fields while it is built, so the codec decodes each encoded value.
        unbounded: values may nest without limit.
        secret: a part of the type is marked as secret.
    """

    tags: Mapping[type, str]
    tagged: set[type] = attrs.field(factory=set[type])
    mutable: dict[type, str] = attrs.field(factory=dict[type, str])
    needs_round_trip: bool = False
    unbounded: bool = False
    secret: bool = False
    _done: dict[Any, Schema] = attrs.field(factory=dict[Any, Schema], init=False)
    _open: set[Any] = attrs.field(factory=set[Any], init=False)

    def schema(self, form: Any, path: str) -> Schema:
        """Build a type's schema, tagged if its class has a pinned tag.

        Args:
            form: any annotation.
            path: its path in the declared type.

        Raises:
            Unsupported: it has no JSON form.
        """
        if is_marked(form):
            self.secret = True
            return secret_schema(self._schema(stripped(form), path))
        return self._schema(stripped(form), path)

    def _schema(self, form: Any, path: str) -> Schema:
        if get_origin(form) in _UNIONS:
            return self._union(form, path)
        declared = declaration_of(form, path)
        if declared is None:
            return self._simple(form, path)
        record = self._record(form, declared, path)
        if declared.cls in self.tags and not declared.typed_dict:
            return tagged_schema(record.name, self._members([(declared, record)], path))
        return record

    def _simple(self, form: Any, path: str) -> Schema:
        if (how := stored_as(form)) is not None:
            self.needs_round_trip = True
            cls = get_args(form)[0] if get_origin(form) is Annotated else form
            if not isinstance(cls, type):
                raise Unsupported(path, form, "a class in Annotated[..., StoredAs(...)], not a union or an alias")
            return stored_schema(describe_type(cls), cls, how, self.schema(how.form, path))
        if form in (Any, object):
            self.unbounded = True
            return PLAIN
        if isinstance(form, type) and form in SCALARS:
            return SCALARS[form]
        if isinstance(form, type) and issubclass(form, Enum):
            return enum_schema(form, path)
        if get_origin(form) is Literal:
            return literal_schema(describe_type(form), get_args(form), path)
        return self._container(form, path)

    def _container(self, form: Any, path: str) -> Schema:
        cls, args, name = get_origin(form) or form, get_args(form), describe_type(form)
        if cls in _DICTS:
            key, value = args or (str, object)
            return dict_schema(name, self._key(key, path), self.schema(value, f"{path}[]"))
        if cls is list:
            return list_schema(name, self.schema(args[0] if args else object, f"{path}[]"))
        if cls is set or cls is frozenset:
            return set_schema(name, cls, self.schema(args[0] if args else object, f"{path}[]"))
        if cls is tuple:
            return self._tuple(form, name, path)
        raise Unsupported(path, form, advice(form))

    def _tuple(self, form: Any, name: str, path: str) -> Schema:
        args = get_args(form) if get_origin(form) else (object, ...)
        if args[1:] == (...,):
            return tuple_schema(name, self.schema(args[0], f"{path}[]"))
        return fixed_tuple_schema(name, [self.schema(arg, f"{path}[{at}]") for at, arg in enumerate(args)])

    def _key(self, form: Any, path: str) -> Schema:
        key = self.schema(form, f"{path}.<key>")
        if stripped(form) is int:
            key = INT_KEY if key.redact is None else secret_schema(INT_KEY)
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
                others.append(self.schema(member, path))
        # Joined: two `Literal` members of a union are told apart by their values, as one.
        if literals:
            others.append(literal_schema(f"Literal[{', '.join(map(repr, literals))}]", tuple(literals), path))
        objects = self._objects(name, records, path)
        members = [*objects, *others]
        return union_schema(name, members, path) if len(members) > 1 else members[0]

    def _objects(self, name: str, records: Mapping[Any, Declaration], path: str) -> list[Schema]:
        found = [
            (declared, self._record(form, declared, f"{path}({declared.cls.__name__})"))
            for form, declared in records.items()
        ]
        if len(found) > 1 or any(declared.cls in self.tags for declared, _ in found):
            return [tagged_schema(name, self._members(found, path))]
        return [record for _, record in found]

    def _members(self, found: list[tuple[Declaration, Schema]], path: str) -> list[Member]:
        members: dict[str, Member] = {}
        for declared, record in found:
            cls = declared.cls
            tag = declared.tag_in(self.tags)
            if any(field.name == TAG for field in declared.fields):
                at = f"{path}({cls.__name__}).{TAG}"
                raise Unsupported(at, cls, f"no field named {TAG!r}: the union's tag has that key")
            # A value knows its class and not its type arguments, so the writer could not choose.
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
        # The class contains itself: a schema that looks up the finished one when it is used.
        if form in self._open:
            self.unbounded = True
            cls = dict if declared.typed_dict else declared.cls
            return checked_schema(describe_type(form), cls, lambda: self._done[form])
        for field in declared.fields:
            if declared.build is None and (field.name in RESERVED or field.name.startswith("_cattrs_")):
                raise Unsupported(
                    f"{path}.{field.name}", declared.cls, "another name for that field; this one is reserved"
                )
        if not declared.frozen:
            self.mutable.setdefault(declared.cls, path)
        # Before the fields: one of them may lead back here.
        self._open.add(form)
        self.needs_round_trip |= not declared.proven
        schemas = {field.name: self.schema(field.form, f"{path}.{field.name}") for field in declared.fields}
        tag = None if declared.typed_dict else declared.tag_in(self.tags)
        self._done[form] = record_schema(form, describe_type(form), declared, schemas, tag)
        return self._done[form]


def stored_as(form: Any) -> StoredAs[Any, Any] | None:
    """Return how a type is stored as another one, as its ``Annotated`` or its library says. Else None."""
    if _is_of_pydantic(form):
        return models.stored_as(form)
    return marked_as(form)


def _is_of_pydantic(form: Any) -> bool:
    return isinstance(form, type) and form.__module__.startswith("pydantic.") and not is_model(form)


def marked_as(form: Any) -> StoredAs[Any, Any] | None:
    """Return the `StoredAs` in an ``Annotated``. Else None."""
    marks = form.__metadata__ if get_origin(form) is Annotated else ()
    return next((mark for mark in marks if isinstance(mark, StoredAs)), None)


def stripped(form: Any) -> Any:
    """Return a type without wrappers that do not affect JSON: ``Annotated``, ``Final``, ``NewType``, type aliases.

    An ``Annotated`` with `StoredAs` stays.
    """
    inner = _inner(form)
    return form if inner is form else stripped(inner)


def _inner(form: Any) -> Any:  # noqa: PLR0911 - one return for each form
    origin = get_origin(form)
    if form is None:
        return type(None)
    if origin is Annotated or origin is Final:
        return form if marked_as(form) is not None else get_args(form)[0]
    if _is_of_pydantic(form):
        return models.same_as(form)
    if isinstance(form, NewType):
        return form.__supertype__
    if isinstance(form, _ALIASES):
        return form.__value__
    if isinstance(origin, _ALIASES):
        return substituted(origin.__value__, dict(zip(origin.__type_params__, get_args(form), strict=True)))
    return form


def flattened(form: Any) -> Iterator[Any]:
    """Yield a union's members, including nested unions' members. For any other type, the type itself."""
    form = stripped(form)
    if get_origin(form) in _UNIONS:
        for member in get_args(form):
            yield from flattened(member)
    else:
        yield form
