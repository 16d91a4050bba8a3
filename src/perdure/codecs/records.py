"""Classes with fields: attrs classes, dataclasses, models, ``NamedTuple`` and ``TypedDict``. All are JSON objects.

A `Declaration` has a class's fields, with resolved types. The writer is compiled for the class, as attrs and
cattrs compile their functions.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache, partial
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Final,
    Generic,
    NamedTuple,
    NotRequired,
    Protocol,
    Required,
    TypeVar,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import attrs
from typing_extensions import ReadOnly, get_original_bases, is_typeddict

from perdure._lazy import lazy_module
from perdure.codecs.composites import keeps_parts
from perdure.codecs.json_schema import OWN_TAG, TAG, Definitions, Describe, JsonSchema, Unsupported, named
from perdure.codecs.scalars import INTEGERS, SCALARS
from perdure.codecs.schema import (
    LONGEST,
    Declaration,
    Fault,
    Field,
    Part,
    Problem,
    Read,
    Schema,
    Write,
    never,
    of_object,
    shapes,
)
from perdure.values.excerpt import excerpt
from perdure.values.frozen import frozen
from perdure.values.secret import is_model

if TYPE_CHECKING:
    from perdure.codecs import models, record_reader
else:
    models = lazy_module("perdure.codecs.models")  # for classes of pydantic and msgspec only
    record_reader = lazy_module("perdure.codecs.record_reader")

_QUALIFIERS = (Required, NotRequired, ReadOnly)


@frozen
class _Frozen:
    """Has the ``__setattr__`` that every frozen attrs class has."""


def is_namedtuple(cls: Any) -> bool:
    """Return whether a class is a ``NamedTuple`` and not another tuple."""
    return isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "_fields")


def declaration_of(form: Any, path: str) -> Declaration | None:  # noqa: PLR0911 - one return for each family
    """Return a class's declared fields.

    Args:
        form: a class, or a generic class with its arguments.
        path: its path, for the error message.

    Returns:
        ``None`` if it is not a class with declared fields.

    Raises:
        Unsupported: an annotation cannot be resolved, or a field would not be stored.
    """
    cls: Any = get_origin(form) or form
    if not isinstance(cls, type):
        return None
    if attrs.has(cls):
        return _of_attrs(form, cls, path)
    if is_model(cls):
        declared = models.declaration(cls, path)
        return attrs.evolve(declared, fields=_bound(declared.fields, form, path))
    if dataclasses.is_dataclass(cls):
        return _of_dataclass(form, cls, path)
    if is_namedtuple(cls):
        return _of_namedtuple(form, cls, path)
    if is_typeddict(cls):
        return _of_typeddict(form, cls, path)
    return None


def _of_attrs(form: Any, cls: Any, path: str) -> Declaration:
    given = attrs.fields(cls)
    for each in given:
        # Not stored, it would have its default after each load.
        if not each.init:
            raise _not_stored(path, each.name, cls)
    types = {each.name: each.type for each in given}
    # Only if some are not resolved yet: that is slow, and may fail.
    if not all(isinstance(type_, type) for type_ in types.values()):
        types |= {name: hint for name, hint in _hints(cls, path, types).items() if name in types}
    if untyped := [name for name, type_ in types.items() if type_ is None]:
        raise Unsupported(f"{path}.{untyped[0]}", cls, "a type annotation on each field")
    fields = tuple(Field(a.name, types[a.name], a.default is attrs.NOTHING, _attrs_default(a)) for a in given)
    frozen = cls.__setattr__ is _Frozen.__setattr__
    return Declaration(cls, _bound(fields, form, path), _attrs_is_proven(cls, given), frozen=frozen)


def _attrs_default(field: Any) -> Callable[[], Any] | None:
    made: Any = field.default
    # It is made from the object's other fields.
    if made is attrs.NOTHING or getattr(made, "takes_self", False):
        return None
    return made.factory if isinstance(made, attrs.Factory) else lambda: made  # type: ignore[arg-type] # Factory is a class


def _attrs_is_proven(cls: Any, given: tuple[Any, ...]) -> bool:
    # Code of the class may change values: only without any is the round trip certain, and not checked at each write.
    touched = any(each.converter is not None or each.validator is not None for each in given)
    hooks = ("__attrs_init__", "__attrs_pre_init__", "__attrs_post_init__")  # the first: a hand-written __init__ exists
    return "__attrs_attrs__" in vars(cls) and not touched and not any(hasattr(cls, hook) for hook in hooks)


def _of_dataclass(form: Any, cls: Any, path: str) -> Declaration:
    hints = _hints(cls, path, {})
    for name, hint in hints.items():
        if isinstance(hint, dataclasses.InitVar):
            raise _not_stored(path, name, cls)
    given = dataclasses.fields(cls)
    for each in given:
        if not each.init:
            raise _not_stored(path, each.name, cls)
    fields = tuple(Field(f.name, hints[f.name], (made := _dataclass_default(f)) is None, made) for f in given)
    own = "__dataclass_fields__" in vars(cls) and cls.__dataclass_params__.init
    is_checked = hasattr(cls, "__pydantic_validator__")  # a dataclass of pydantic
    proven = own and not is_checked and not hasattr(cls, "__post_init__")
    return Declaration(cls, _bound(fields, form, path), proven, frozen=cls.__dataclass_params__.frozen)


def _dataclass_default(field: dataclasses.Field[Any]) -> Callable[[], Any] | None:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory
    return None if field.default is dataclasses.MISSING else lambda: field.default


def _of_namedtuple(form: Any, cls: Any, path: str) -> Declaration:
    hints = _hints(cls, path, {})
    if missing := [name for name in cls._fields if name not in hints]:
        raise Unsupported(f"{path}.{missing[0]}", cls, "typing.NamedTuple, with a type for each field")
    defaults: dict[str, Any] = cls._field_defaults
    fields = tuple(
        Field(name, hints[name], name not in defaults, partial(defaults.get, name) if name in defaults else None)
        for name in cls._fields
    )
    return Declaration(cls, _bound(fields, form, path), _namedtuple_is_proven(cls))


def _namedtuple_is_proven(cls: Any) -> bool:
    module: str = cls.__new__.__module__
    return module == f"namedtuple_{cls.__name__}"  # the module in which the standard library compiles its own __new__


def _of_typeddict(form: Any, cls: Any, path: str) -> Declaration:
    fields = tuple(_typeddict_field(cls, name, hint) for name, hint in _hints(cls, path, {}).items())
    return Declaration(cls, _bound(fields, form, path), proven=True, typed_dict=True)


def _typeddict_field(cls: Any, name: str, hint: Any) -> Field:
    required = name in cls.__required_keys__
    while get_origin(hint) in _QUALIFIERS:
        # read from the resolved hint too: __required_keys__ ignores quoted annotations
        required = {Required: True, NotRequired: False}.get(get_origin(hint), required)
        (hint,) = get_args(hint)
    return Field(name, hint, required)


def _hints(cls: Any, path: str, known: dict[str, Any]) -> dict[str, Any]:
    try:
        hints = get_type_hints(cls, include_extras=True)
    except Exception as error:
        if known and not any(isinstance(type_, str) for type_ in known.values()):
            return known  # attrs.resolve_types resolved them in a scope that no longer exists
        raise Unsupported(
            path,
            cls,
            f"annotations that resolve ({error}): declare the types at module level, imported at run time, "
            "or call attrs.resolve_types first",
        ) from error
    return {name: hint for name, hint in hints.items() if get_origin(hint) is not ClassVar and hint is not ClassVar}


def _not_stored(path: str, name: str, cls: Any) -> Unsupported:
    return Unsupported(
        f"{path}.{name}",
        cls,
        "fields that __init__ takes and the instance keeps (no init=False, no InitVar); derive others in a property",
    )


def _bound(fields: tuple[Field, ...], form: Any, path: str) -> tuple[Field, ...]:
    bindings: dict[Any, Any] = {}
    for parameter, argument in _bindings(form):
        # Two meanings of one TypeVar would give one of the fields the wrong codec.
        if bindings.setdefault(parameter, argument) != argument:
            raise Unsupported(
                path, form, f"another TypeVar than {parameter} in one of its bases: it stands for two types"
            )
    return tuple(attrs.evolve(field, form=substituted(field.form, bindings)) for field in fields)


def _bindings(form: Any) -> Iterator[tuple[Any, Any]]:
    cls: Any = get_origin(form) or form
    own = dict(zip(getattr(cls, "__parameters__", ()), get_args(form), strict=False))
    yield from own.items()
    for base in get_original_bases(cls) if isinstance(cls, type) else ():
        if get_origin(base) not in (None, Generic, Protocol, NamedTuple):
            yield from _bindings(substituted(base, own))


def substituted(form: Any, bindings: dict[Any, Any]) -> Any:
    """Replace a generic class's parameters by their arguments.

    Args:
        form: a field's type.
        bindings: each parameter's argument. A parameter without one is kept.
    """
    if isinstance(form, TypeVar):
        return bindings.get(form, form)
    if get_origin(form) is None or not getattr(form, "__parameters__", ()):
        return form
    return form[tuple(bindings.get(parameter, parameter) for parameter in form.__parameters__)]


_FAULTY: Final[Mapping[Write, str]] = {
    SCALARS[str].write: "type({0}) is not str",
    SCALARS[int].write: f"type({{0}}) is not int or not {INTEGERS.start} <= {{0}} < {INTEGERS.stop}",
    SCALARS[bool].write: "{0} is not True and {0} is not False",
    SCALARS[type(None)].write: "{0} is not None",
}
"""When the writer of a scalar refuses a value, as an expression; such a writer returns all others unchanged."""


def record_writer(cls: type, name: str, schemas: Mapping[str, Schema]) -> Write:
    """Return a class's writer: a dict with the written fields. It refuses every other class, also subclasses."""
    known: dict[str, Any] = {"cls": cls, "name": name, "Fault": Fault}
    known |= {f"write_{at}": schema.write for at, schema in enumerate(schemas.values())}
    # Generated: a loop over the fields takes longer, and states are written on each turn.
    exec("\n".join(_lines(schemas)), known)  # noqa: S102 - the names of fields are identifiers
    return cast("Write", known["write"])


def _lines(schemas: Mapping[str, Schema]) -> Iterator[str]:
    yield "def write(value):"
    yield "    if type(value) is not cls: raise Fault(name, value)"
    for at, (name, schema) in enumerate(schemas.items()):
        faulty = _FAULTY.get(schema.write)
        if faulty is not None:
            yield f"    field_{at} = value.{name}"
            yield f"    if {faulty.format(f'field_{at}')}: write_{at}(field_{at})"  # which raises
        elif type(None) in schema.classes:
            yield f"    field_{at} = value.{name}"
            yield f"    if field_{at} is not None: field_{at} = write_{at}(field_{at})"
        else:
            yield f"    field_{at} = write_{at}(value.{name})"
    yield f"    return {{{', '.join(f'{name!r}: field_{at}' for at, name in enumerate(schemas))}}}"


RESERVED: Final = frozenset({"attrs", "cl", "converter", "typevar_map"})
"""Field names that cattrs' code generator uses for its own arguments."""

_DICT = frozenset({dict})


def record_schema(
    form: Any, name: str, declared: Declaration, schemas: Mapping[str, Schema], tag: str | None
) -> Schema:
    """Return the schema for a class with fields.

    Args:
        form: the class, with its arguments if it is generic.
        name: the type's readable name.
        declared: the class and its fields.
        schemas: each field's schema.
        tag: the tag that its objects carry in a union. None for a ``TypedDict``.

    Returns:
        A schema whose reader refuses unknown keys, and missing keys without a default. Its writer refuses every other
        class, also subclasses, because their additional fields would be lost.
    """
    cls = declared.cls
    if declared.typed_dict:
        return _typeddict_schema(name, declared, schemas, named(form, name, _object(name, declared, schemas, None)))
    fields = tuple((field, schema.keeps) for field, schema in schemas.items())
    keeps = keeps_parts(fields, getattr) if declared.frozen and declared.proven else never
    read, write = _functions(form, name, declared, schemas)

    def write_parts(value: Any) -> Iterator[Part | Problem]:
        # A subclass has fields that would not be stored.
        if type(value) is cls:
            for field in declared.fields:
                if hasattr(value, field.name):
                    yield Part(f".{field.name}", schemas[field.name], getattr(value, field.name))
                else:
                    yield Problem(f".{field.name}", "was never set")

    return Schema(
        name=name,
        kinds=_DICT,
        classes=frozenset({cls}),
        read=read,
        write=write,
        describe=named(form, name, _object(name, declared, schemas, tag)),
        read_parts=_object_parts(declared, schemas),
        write_parts=write_parts,
        redact=of_object(schemas),
        keeps=keeps,
        structure=lambda: shapes.ObjectShape(name, _shapes(schemas), tag, cache(lambda: _defaults(declared, schemas))),
    )


def _defaults(declared: Declaration, schemas: Mapping[str, Schema]) -> dict[str, Any]:
    """Return a class's defaults as JSON, for the fields whose default is a valid value."""
    found = dict[str, Any]()
    for field in declared.fields:
        if field.default is not None:
            # A default that is not valid is never equal to a stored value, so leaving it out is right.
            with suppress(Exception):  # of a factory, or of a default that only a converter makes valid
                found[field.name] = schemas[field.name].write(field.default())
    return found


def _shapes(schemas: Mapping[str, Schema]) -> dict[str, shapes.Shape]:
    return {field: schema.shape() for field, schema in schemas.items()}


def _object(name: str, declared: Declaration, schemas: Mapping[str, Schema], own_tag: str | None) -> Describe:
    def describe(definitions: Definitions, tag: str | None = None, /) -> JsonSchema:
        required = [field.name for field in declared.fields if field.required]
        properties = {field.name: schemas[field.name].describe(definitions) for field in declared.fields}
        found: JsonSchema = {"title": name, "type": "object", "additionalProperties": False}
        if summary := _summary(declared.cls):
            found["description"] = summary
        if tag is None and own_tag not in (None, name):
            found[OWN_TAG] = own_tag
        if tag is not None:
            properties, required = {TAG: {"type": "string", "const": tag}, **properties}, [TAG, *required]
        if properties:
            found["properties"] = properties
        if required:
            found["required"] = required
        return found

    return describe


def _summary(cls: Any) -> str:
    """Return the first paragraph of a class's own docstring. Empty for one that Python generated."""
    written = vars(cls).get("__doc__") or ""
    generated = written.startswith(f"{cls.__name__}(")  # of a dataclass and of a NamedTuple
    return "" if generated else " ".join(inspect.cleandoc(written).partition("\n\n")[0].split())


def _functions(form: Any, name: str, declared: Declaration, schemas: Mapping[str, Schema]) -> tuple[Read, Write]:
    cls = declared.cls
    if is_namedtuple(cls):
        return _namedtuple(name, cls, schemas)
    if declared.build is not None:
        return models.record_reader(name, declared, declared.build, schemas), record_writer(cls, name, schemas)
    return _generated(form, name, cls, schemas)


def _generated(form: Any, name: str, cls: Any, schemas: Mapping[str, Schema]) -> tuple[Read, Write]:
    read_fields: Read | None = None  # until the first object is read: to define jobs, no reader is needed

    def read(data: Any, _: Any = None) -> Any:
        nonlocal read_fields
        if type(data) is not dict:
            raise Fault(name, data)
        if read_fields is None:
            read_fields = record_reader.record_reader(form, schemas)
        return read_fields(data, None)

    return read, record_writer(cls, name, schemas)


def _namedtuple(name: str, cls: Any, schemas: Mapping[str, Schema]) -> tuple[Read, Write]:
    reads = {field: schema.read for field, schema in schemas.items()}
    writes = tuple((field, schema.write) for field, schema in schemas.items())

    def read(data: Any, _: Any = None) -> Any:
        if type(data) is dict:
            # A wrong key raises here, and is located afterwards.
            return cls(**{field: reads[field](value, None) for field, value in data.items()})
        raise Fault(name, data)

    def write(value: Any) -> dict[str, Any]:
        if type(value) is not cls:
            raise Fault(name, value)
        return {field: write(each) for (field, write), each in zip(writes, value, strict=True)}

    return read, write


def _object_parts(declared: Declaration, schemas: Mapping[str, Schema]) -> Callable[[Any], Iterator[Part | Problem]]:
    names = {field.name for field in declared.fields}
    known = ", ".join(field.name for field in declared.fields) or "no keys"

    def parts(data: Any) -> Iterator[Part | Problem]:
        if type(data) is not dict:
            return
        for field in declared.fields:
            if field.name in data:
                yield Part(f".{field.name}", schemas[field.name], data[field.name])
            elif field.required:
                yield Problem(f".{field.name}", f"missing; expected {schemas[field.name].name}")
        for key in data:
            if key not in names:
                yield Problem(f"[{excerpt(key, LONGEST)}]", f"unknown key; {declared.cls.__name__} has {known}")

    return parts


def _typeddict_schema(name: str, declared: Declaration, schemas: Mapping[str, Schema], describe: Describe) -> Schema:
    required = {field.name for field in declared.fields if field.required}
    reads = {key: schema.read for key, schema in schemas.items()}
    writes = {key: schema.write for key, schema in schemas.items()}

    def read(data: Any, _: Any = None) -> dict[str, Any]:
        if type(data) is dict and required <= data.keys():
            # An unknown key raises here, and is located afterwards.
            return {key: reads[key](value, None) for key, value in data.items()}
        raise Fault(name, data)

    def write(value: Any) -> dict[str, Any]:
        if type(value) is dict and required <= value.keys():
            return {key: writes[key](each) for key, each in value.items()}
        raise Fault(name, value)

    parts = _object_parts(declared, schemas)
    return Schema(
        name=name,
        kinds=_DICT,
        classes=_DICT,
        read=read,
        write=write,
        describe=describe,
        read_parts=parts,
        write_parts=parts,
        redact=of_object(schemas),
        keeps=never,
        structure=lambda: shapes.ObjectShape(name, _shapes(schemas), None, dict[str, Any]),
    )
