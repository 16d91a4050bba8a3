"""A value's source code: the expression that makes it, and its imports."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta, tzinfo
from enum import Enum
from typing import Any, Final, get_args

import attrs

from perdure.testing.fault import Fault
from perdure.values.secret import argument_names, is_model

PUBLIC: Final = "perdure.testing"
"""The module from which names of the kit are imported."""


@attrs.frozen
class SourceRepr:
    """An expression.

    Attributes:
        imports: pairs of a module and a name in it. The name ``""`` means the module itself.
    """

    text: str
    imports: frozenset[tuple[str, str]] = frozenset()


def source_of(value: object) -> SourceRepr:  # noqa: PLR0911 - one return for each form
    """Return a value's source code: a value in events and states, a fault, an exception. Otherwise its ``repr``.

    Args:
        value: the value to make again.
    """
    match value:
        case Enum():
            return _named(type(value), f".{value.name}")
        case float() if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - true for NaN
            return SourceRepr(f"float('{value}')")
        case datetime() | date() | time() | timedelta() | tzinfo():
            return _of_modules(repr(value))
        case type():
            return _named(value)
        case _ if isinstance(value, get_args(Fault)):
            return _call(type(value), _of_fault(value))
        case _ if attrs.has(type(value)) and not isinstance(value, BaseException):
            return _call(type(value), _of_attrs(value))
        case _ if is_model(type(value)):
            own = argument_names(type(value))
            return _call(type(value), ((f"{argument}=", getattr(value, name)) for name, argument in own))
        case _ if dataclasses.is_dataclass(value):
            given = [field.name for field in dataclasses.fields(value) if field.init]
            return _call(type(value), ((f"{name}=", getattr(value, name)) for name in given))
        case tuple() | list() | set() | frozenset() | dict():
            return _collection(value)
        case _:
            return _opaque(value)


def written(imports: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the imports, one line for each module."""
    names: dict[str, set[str]] = {}
    for module, name in imports:
        names.setdefault(module, set()).add(name)
    yield from (f"import {module}" for module in sorted(names) if "" in names[module])
    for module in sorted(names):
        if chosen := sorted(names[module] - {""}):
            yield f"from {module} import {', '.join(chosen)}"


def name_of(value: object) -> SourceRepr | None:
    """Return the name that a module in the program has for a value. None when none has.

    Test modules come last: an import in a test is better taken from its origin.
    """
    modules = sorted(sys.modules.items(), key=lambda each: _is_a_test(each[0]))
    for module, contents in modules:
        if module != "__main__":
            for name, each in tuple(getattr(contents, "__dict__", {}).items()):
                if each is value and not name.startswith("_"):
                    return SourceRepr(name, frozenset({(module, name)}))
    return None


def _is_a_test(module: str) -> bool:
    last = module.rpartition(".")[2]
    return last.startswith("test_") or last.endswith("_test") or last == "conftest"


def _named(cls: type, rest: str = "") -> SourceRepr:
    """Return a class's name. One that is local to a function cannot be imported and is written as it is called."""
    module = PUBLIC if cls.__module__.startswith(f"{PUBLIC}.") else cls.__module__
    if module == "builtins" or "<locals>" in cls.__qualname__:
        return SourceRepr(f"{cls.__qualname__.rpartition('<locals>.')[2]}{rest}")
    return SourceRepr(f"{cls.__qualname__}{rest}", frozenset({(module, cls.__qualname__.partition(".")[0])}))


def _call(cls: type, arguments: Iterable[tuple[str, Any]]) -> SourceRepr:
    parts = [(label, source_of(value)) for label, value in arguments]
    name = _named(cls)
    text = ", ".join(f"{label}{part.text}" for label, part in parts)
    return SourceRepr(f"{name.text}({text})", name.imports.union(*(part.imports for _, part in parts)))


def _of_attrs(value: Any) -> Iterator[tuple[str, Any]]:
    for field in attrs.fields(type(value)):
        if field.init:
            yield f"{field.alias or field.name}=", getattr(value, field.name)


def _of_fault(fault: Any) -> Iterator[tuple[str, Any]]:
    """Yield a fault's arguments, as it prints them: its location, and arguments without their default."""
    yield "", fault.at
    for field in sorted(attrs.fields(type(fault))[1:], key=lambda each: each.kw_only):
        value = getattr(fault, field.name)
        if value != field.default:
            yield f"{field.name}=", value


def _collection(value: Any) -> SourceRepr:
    if isinstance(value, Mapping):
        pairs = [(source_of(key), source_of(each)) for key, each in value.items()]
        parts = [part for pair in pairs for part in pair]
        text = f"{{{', '.join(f'{key.text}: {each.text}' for key, each in pairs)}}}"
    else:
        parts = [source_of(each) for each in value]
        text = _brackets(value, ", ".join(part.text for part in parts))
    return SourceRepr(text, frozenset[tuple[str, str]]().union(*(part.imports for part in parts)))


def _brackets(value: Any, inside: str) -> str:
    match value:
        case list():
            return f"[{inside}]"
        case tuple():
            return f"({inside},)" if len(value) == 1 else f"({inside})"
        case frozenset():
            return f"frozenset({{{inside}}})" if value else "frozenset()"
        case _:
            return f"{{{inside}}}" if value else "set()"


def _of_modules(text: str) -> SourceRepr:
    """Return a value's ``repr``, which names its module."""
    return SourceRepr(text, frozenset((module, "") for module in ("datetime", "zoneinfo") if f"{module}." in text))


def _opaque(value: Any) -> SourceRepr:
    """Return a value's ``repr``, which is its own source: numbers, texts, `UUID`, `Decimal`, exceptions."""
    cls, text = type(value), repr(value)
    return SourceRepr(text, _named(cls).imports if text.startswith(f"{cls.__qualname__}(") else frozenset())
