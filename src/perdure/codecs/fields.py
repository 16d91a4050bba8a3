"""The declared fields of a class, with resolved types, for every supported kind of class."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import (
    Any,
    ClassVar,
    Generic,
    NamedTuple,
    NotRequired,
    Protocol,
    Required,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

import attrs
from typing_extensions import ReadOnly, get_original_bases, is_typeddict

from perdure.codecs.unsupported import Unsupported
from perdure.values.frozen import frozen

_QUALIFIERS = (Required, NotRequired, ReadOnly)


@frozen
class Field:
    """One field of a class: its name, its type, whether it is required in JSON, and a function of its default."""

    name: str
    form: Any
    required: bool
    default: Callable[[], Any] | None = None


@frozen
class Declaration:
    """The fields of an attrs class, a dataclass, a ``NamedTuple`` or a ``TypedDict``.

    Attributes:
        cls: the class itself, without its type arguments.
        fields: its fields, in declaration order.
        proven: an instance built from fields keeps exactly these fields: the class has no converter, validator,
            ``__post_init__`` or hand-written ``__init__``.
        typed_dict: its instances are plain dicts, which cannot be distinguished from other dicts.
        frozen: no field of an instance can be assigned. A ``TypedDict`` counts as frozen: it is a dict, not a class.
    """

    cls: Any
    fields: tuple[Field, ...]
    proven: bool
    typed_dict: bool = False
    frozen: bool = True


@frozen
class _Frozen:
    """Has the ``__setattr__`` of every frozen attrs class."""


def is_namedtuple(cls: Any) -> bool:
    """Return whether a class is a ``NamedTuple`` and not another tuple."""
    return isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "_fields")


def declaration_of(form: Any, path: str) -> Declaration | None:
    """Return the declared fields of a class.

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
        if not each.init:
            raise _not_stored(path, each.name, cls)
    types = {each.name: each.type for each in given}
    if not all(isinstance(type_, type) for type_ in types.values()):
        types |= {name: hint for name, hint in _hints(cls, path, types).items() if name in types}
    if untyped := [name for name, type_ in types.items() if type_ is None]:
        raise Unsupported(f"{path}.{untyped[0]}", cls, "a type annotation on each field")
    fields = tuple(Field(a.name, types[a.name], a.default is attrs.NOTHING, _attrs_default(a)) for a in given)
    frozen = cls.__setattr__ is _Frozen.__setattr__
    return Declaration(cls, _bound(fields, form, path), _attrs_is_proven(cls, given), frozen=frozen)


def _attrs_default(field: Any) -> Callable[[], Any] | None:
    made: Any = field.default
    if made is attrs.NOTHING or getattr(made, "takes_self", False):
        return None
    return made.factory if isinstance(made, attrs.Factory) else lambda: made  # type: ignore[arg-type] # Factory is a class


def _attrs_is_proven(cls: Any, given: tuple[Any, ...]) -> bool:
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
    proven = own and not hasattr(cls, "__post_init__")
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
    """Replace the parameters of a generic class by their arguments.

    Args:
        form: the type of a field.
        bindings: the argument of each parameter; a parameter without one is kept.
    """
    if isinstance(form, TypeVar):
        return bindings.get(form, form)
    if get_origin(form) is None or not getattr(form, "__parameters__", ()):
        return form
    return form[tuple(bindings.get(parameter, parameter) for parameter in form.__parameters__)]
