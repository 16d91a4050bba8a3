"""Secrets: the marker of fields whose values are not shown, and the removal of known secrets from text."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Annotations of every type pass here as Any, and narrowing one leaves its type arguments unknown.

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Any, Final, NewType, NoReturn, final, get_args, get_origin

import attrs
import orjson
from typing_extensions import ReadOnly, TypeAliasType, is_typeddict

HIDDEN: Final = "<secret>"
"""The text that replaces a secret wherever a value is shown."""

MIN_SCRUBBED_CHARACTERS: Final = 4
"""Shorter secrets are not searched for in the text of exceptions: they would match everywhere."""

_ALIASES: Final[tuple[type[Any], ...]] = (TypeAliasType, getattr(typing, "TypeAliasType", TypeAliasType))
_CUT: Final = "..."
_LONGEST_EXCERPT: Final = 2_000
_UNIONS: Final = (typing.Union, types.UnionType)
_QUALIFIERS: Final = (typing.Required, typing.NotRequired, ReadOnly)


@final
class Secret:
    """Marks a value that logs, messages, events and tools never show: ``token: Annotated[str, Secret]``.

    It marks a field of a state, an event or an error, or a part of its type: ``dict[str, Annotated[str, Secret]]``. The
    type of the value and its stored bytes are unchanged.
    """

    def __class_getitem__(cls, item: object) -> NoReturn:
        """Refuse ``Secret[str]``: it is a mark, and not a type."""
        name = item.__name__ if isinstance(item, type) else repr(item)
        raise TypeError(f"Secret is a mark and not a type: expected Annotated[{name}, Secret]; got Secret[{name}]")


def is_marked(form: object) -> bool:
    """Return whether an annotation marks its complete value: directly, through an alias, or in a member of a union."""
    return any(is_secret_mark(mark) for each in _unwrapped(form) for mark in _marks(each))


def is_secret_mark(mark: object) -> bool:
    """Return whether an argument of ``Annotated`` is the marker."""
    return mark is Secret or isinstance(mark, Secret)


def _marks(form: Any) -> tuple[object, ...]:
    return form.__metadata__ if get_origin(form) is Annotated else ()


def _unwrapped(form: Any) -> Iterator[Any]:
    """Yield an annotation, and the annotations inside its wrappers, its aliases and its union."""
    yield form
    for inner in _inside(form):
        yield from _unwrapped(inner)


def _inside(form: Any) -> tuple[Any, ...]:
    origin = get_origin(form)
    if origin is Annotated or origin is typing.Final or origin in _QUALIFIERS:
        return get_args(form)[:1]
    if origin in _UNIONS:
        return get_args(form)
    if isinstance(form, NewType):
        return (form.__supertype__,)
    if isinstance(form, _ALIASES):
        return (form.__value__,)
    return (origin.__value__, *get_args(form)) if isinstance(origin, _ALIASES) else ()


# ---------------------------------------------------------------- classes, for excerpts of their instances
def shown_fields(cls: type) -> tuple[tuple[str, bool], ...] | None:
    """Return the fields of a class to show, and whether each is hidden; None if no value in it is marked.

    Args:
        cls: the class of a value. Only attrs classes, dataclasses and named tuples have marked fields: the instances of
            a ``TypedDict`` are plain dicts.
    """
    return _shown_fields(cls) if _is_declared(cls) and _has_secrets(cls) else None


@lru_cache(maxsize=1_024)
def _shown_fields(cls: type) -> tuple[tuple[str, bool], ...]:
    hints = _hints(cls)
    return tuple((name, _contains_mark(hints.get(name))) for name in _names(cls))


@lru_cache(maxsize=1_024)
def _has_secrets(cls: type) -> bool:
    seen, waiting = set[type](), [cls]
    while waiting:
        each = waiting.pop()
        if each in seen:
            continue
        seen.add(each)
        for hint in _hints(each).values():
            parts = tuple(_parts(hint))
            if any(_marks_secret(part) for part in parts):
                return True
            waiting += [part for part in parts if _is_declared(part) or is_typeddict(part)]
    return False


def _contains_mark(hint: Any) -> bool:
    """Return whether an annotation has the marker anywhere, outside the classes that print themselves."""
    return any(_marks_secret(part) or (is_typeddict(part) and _has_secrets(part)) for part in _parts(hint))


def _marks_secret(part: object) -> bool:
    return any(is_secret_mark(mark) for mark in _marks(part))


def _parts(form: Any) -> Iterator[Any]:
    """Yield an annotation and all annotations in it."""
    origin = get_origin(form)
    yield form
    if isinstance(origin, type):
        yield origin
    inner = _inside(form) or (() if origin is typing.Literal else get_args(form))
    for each in inner:
        yield from _parts(each)


def _is_declared(cls: object) -> bool:
    return isinstance(cls, type) and (
        attrs.has(cls) or dataclasses.is_dataclass(cls) or (issubclass(cls, tuple) and hasattr(cls, "_fields"))
    )


def _names(cls: Any) -> Iterable[str]:
    if attrs.has(cls):
        return [each.name for each in attrs.fields(cls) if each.repr is not False]
    if dataclasses.is_dataclass(cls):
        return [each.name for each in dataclasses.fields(cls) if each.repr]
    return tuple(cls._fields)


def _hints(cls: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except Exception:  # noqa: BLE001 - a message about a value must not fail because of its class
        return {each.name: each.type for each in attrs.fields(cls)} if attrs.has(cls) else {}


# ---------------------------------------------------------------- text
def scrubbed(text: str, secrets: Collection[str]) -> str:
    """Replace known secrets in a text, also where ``repr`` or JSON escaped them.

    Args:
        text: such as the message of an exception.
        secrets: the secrets; those of less than 4 characters are left.
    """
    found = {form for each in secrets for form in _forms(each) if len(form) >= MIN_SCRUBBED_CHARACTERS}
    for form in sorted(found, key=len, reverse=True):
        text = _without(text.replace(form, HIDDEN), form)
    return text


def _without(text: str, form: str) -> str:
    """Replace the beginning and the end of a secret where an excerpt has cut its middle out."""
    parts = text.split(_CUT)
    for at, (before, after) in enumerate(pairwise(parts)):
        longest = min(len(form), _LONGEST_EXCERPT)
        for size in range(min(longest, len(before)), MIN_SCRUBBED_CHARACTERS - 1, -1):
            if before.endswith(form[:size]):
                parts[at] = parts[at][: len(parts[at]) - size] + HIDDEN
                break
        for size in range(min(longest, len(after)), MIN_SCRUBBED_CHARACTERS - 1, -1):
            if after.startswith(form[len(form) - size :]):
                parts[at + 1] = HIDDEN + after[size:]
                break
    return _CUT.join(parts)


def _forms(secret: str) -> Iterator[str]:
    """Yield the texts that a secret has when it is printed: as it is, escaped once, or escaped twice."""
    for once in {secret, *_escaped(secret), *secret.splitlines()}:
        yield once
        yield from _escaped(once)


def _escaped(text: str) -> Iterator[str]:
    yield repr(text)[1:-1]
    yield repr(f"\"'{text}")[4:-1]  # with both quotes before it, its own are escaped
    yield ascii(text)[1:-1]
    yield "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
    yield orjson.dumps(text).decode()[1:-1]


Hide: typing.TypeAlias = Callable[[Any], Any]
"""From a secret JSON value to its replacement."""


def hide(_: object) -> str:
    """Return the replacement of a secret."""
    return HIDDEN


def texts_of(value: object) -> Iterator[str]:
    """Yield the texts in a secret JSON value, the names of its keys included, and its numbers as text."""
    match value:
        case str():
            yield value
        case bool() | None:
            pass
        case dict():
            for key, each in value.items():
                yield str(key)
                yield from texts_of(each)
        case list():
            for each in value:
                yield from texts_of(each)
        case _:
            yield str(value)
