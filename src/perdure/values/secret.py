"""Secrets: the marker for fields that are not shown, the function that removes known secrets, and encrypted text.

A text that could not be decrypted is `Unreadable`: no codec decodes it, and it says why.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Annotations of every type pass here as Any, and narrowing one leaves its type arguments unknown.

from __future__ import annotations

import base64
import dataclasses
import html
import json
import re
import string
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Any, Final, NewType, NoReturn, Self, final, get_args, get_origin
from urllib.parse import quote, quote_plus

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
_RUN: Final = re.compile(r"\\+|.", re.DOTALL)
_MARKS: Final = "\\%&+"  # one of them begins each escaped form
_WORD: Final = re.compile(r"[A-Za-z0-9]+")
_LAST_OF_LATIN_1: Final = 0xFF
_NAMED: Final = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f", "\v": "v", "\a": "a", "\0": "0"}
_URL_SAFE: Final = str.maketrans("+/", "-_")
_ENCODED: Final = f"{string.ascii_letters}{string.digits}+/_%-"
_MAX_BACKSLASHES: Final = 7  # before an escaped character that was escaped twice again; a bound keeps the search linear
_UNIONS: Final = (typing.Union, types.UnionType)
_QUALIFIERS: Final = (typing.Required, typing.NotRequired, ReadOnly)


@final
class Secret:
    """Marks a value that logs, messages, events and tools never show: ``token: Annotated[str, Secret]``.

    It marks a field in a state, an event or an error, or a part of the field's type: ``dict[str, Annotated[str,
    Secret]]``. The value's type and stored bytes are unchanged.
    """

    def __class_getitem__(cls, item: object) -> NoReturn:
        """Refuse ``Secret[str]``: it is a mark, and not a type."""
        name = item.__name__ if isinstance(item, type) else repr(item)
        raise TypeError(f"Secret is a mark and not a type: expected Annotated[{name}, Secret]; got Secret[{name}]")


def is_marked(form: object) -> bool:
    """Return whether an annotation marks its complete value: directly, through an alias, or in a member in a union."""
    return any(is_secret_mark(mark) for each in _unwrapped(form) for mark in _marks(each))


def is_secret_mark(mark: object) -> bool:
    """Return whether an ``Annotated`` argument is the marker."""
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
    """Return a class's fields to show, and whether each is hidden. None if no value in it is marked.

    Args:
        cls: a value's class. Only attrs classes, dataclasses, models and named tuples have marked fields: ``TypedDict``
            instances are plain dicts.
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
        attrs.has(cls)
        or dataclasses.is_dataclass(cls)
        or (issubclass(cls, tuple) and hasattr(cls, "_fields"))
        or is_model(cls)
    )


def is_model(cls: type) -> bool:
    """Return whether a class is a pydantic model or a msgspec struct. Neither library is imported for the question."""
    return hasattr(cls, "__struct_fields__") or (hasattr(cls, "__pydantic_complete__") and hasattr(cls, "model_fields"))


def argument_names(cls: Any) -> Iterator[tuple[str, str]]:
    """Yield each field name in a model, with the argument name: pydantic accepts a field by its alias."""
    if hasattr(cls, "__struct_fields__"):
        yield from ((name, name) for name in cls.__struct_fields__)
        return
    is_by_name = cls.model_config.get("validate_by_name") or cls.model_config.get("populate_by_name")
    for name, each in cls.__pydantic_fields__.items():
        alias = each.validation_alias
        yield name, alias if isinstance(alias, str) and not is_by_name else name


def pydantic_hints(cls: Any) -> dict[str, Any]:
    """Return a pydantic model's field types, with marks, and with a generic class's arguments."""
    return {
        name: Annotated[(each.annotation, *each.metadata)] if each.metadata else each.annotation
        for name, each in cls.__pydantic_fields__.items()
    }


def _names(cls: Any) -> Iterable[str]:
    if attrs.has(cls):
        return [each.name for each in attrs.fields(cls) if each.repr is not False]
    if dataclasses.is_dataclass(cls):
        return [each.name for each in dataclasses.fields(cls) if each.repr]
    if is_model(cls):
        return [name for name, _ in argument_names(cls)]
    return tuple(cls._fields)


def _hints(cls: Any) -> dict[str, Any]:
    if hasattr(cls, "__pydantic_fields__") and is_model(cls):
        return pydantic_hints(cls)
    try:
        # With extras: the marks are among them.
        return typing.get_type_hints(cls, include_extras=True)
    except Exception:  # noqa: BLE001 - a message about a value must not fail because of its class
        return {each.name: each.type for each in attrs.fields(cls)} if attrs.has(cls) else {}


# ---------------------------------------------------------------- text
def scrubbed(text: str, secrets: Collection[str]) -> str:
    """Replace known secrets in a text, in each form that code usually prints them in.

    The forms are: unchanged. Escaped, also twice, by ``repr`` (text or bytes), by ``json.dumps``, for HTML or for a
    URL. And in Base64 or hexadecimal digits, also inside a longer encoded text, which is replaced completely.

    Args:
        text: such as an exception's message.
        secrets: the secrets. Those with fewer than 4 characters are left.
    """
    known = {form for each in secrets for form in _plain(each) if len(form) >= MIN_SCRUBBED_CHARACTERS}
    # The longest first: a shorter secret inside a longer one would leave the rest of that visible.
    for form in sorted(known, key=len, reverse=True):
        text = _replaced(text, form, extends=False)
    for form in known:
        for encoded in set(_encoded(form)):
            text = _replaced(text, encoded, extends=True)
    if _CUT in text:
        for form in sorted({each for one in known for each in _printed(one)}, key=len, reverse=True):
            text = _without(text, form)
    return text


def _plain(secret: str) -> Iterator[str]:
    """Yield a secret, its lines, and its bytes if it is the stored text for bytes."""
    yield secret
    yield from secret.splitlines()
    try:
        data = base64.b64decode(secret, validate=True)
    except ValueError:  # not of a field of bytes
        return
    if data and base64.b64encode(data).decode() == secret:
        # Services get the bytes, and their errors print those.
        yield data.decode("latin-1")  # `repr` of bytes shows each byte as this shows its character
        yield data.decode(errors="ignore")


def _replaced(text: str, form: str, *, extends: bool) -> str:
    """Replace a secret in one form, with the rest of the encoded text around it if it extends."""
    shown, at = "", 0
    for begin, end in _occurrences(text, form):
        if begin < at:
            continue  # in the text that the last one extended to
        before, after = text[at:begin], text[end:]
        # The characters around it encode the bytes next to the secret, and so a part of it: they are removed as well.
        if extends:
            before, after = before.rstrip(_ENCODED), after.lstrip(_ENCODED).lstrip("=")
        shown, at = f"{shown}{before}{HIDDEN}", len(text) - len(after)
    return f"{shown}{text[at:]}" if at else text


def _occurrences(text: str, form: str) -> Iterator[tuple[int, int]]:
    """Yield where a text contains a secret in one form, each character escaped or not."""
    if form.isascii() and form.isalnum():  # no code escapes these characters
        begin = text.find(form)
        while begin >= 0:
            yield begin, begin + len(form)
            begin = text.find(form, begin + len(form))
    elif (form in text or any(mark in text for mark in _MARKS)) and all(word in text for word in _WORD.findall(form)):
        # It takes a millisecond to compile a pattern, and few secrets get this far.
        pattern = "".join(_any_form(run[0]) for run in _RUN.finditer(form))
        yield from (found.span() for found in re.finditer(pattern, text))


def _any_form(run: str) -> str:
    r"""Return a pattern for one character in all its escaped forms, or for a run of ``\``."""
    character = run[0]
    if character.isascii() and character.isalnum():
        return character
    if character == "\\":
        return rf"(?:\\|%(?:25)*5[cC]){{{len(run)},{(1 + _MAX_BACKSLASHES) * len(run)}}}"
    point, data = ord(character), character.encode("utf-8", "surrogatepass")
    escape = rf"(?:\\|%(?:25)*5c){{1,{_MAX_BACKSLASHES}}}"
    units = character.encode("utf-16-be", "surrogatepass").hex()
    once = html.escape(character)
    forms = [
        *(f"(?:{escape})?{_quoted(each)}" for each in dict.fromkeys((html.escape(once), once, character))),
        "".join(f"{escape}x{byte:02x}" for byte in data),
        "".join(f"{escape}u{units[at : at + 4]}" for at in range(0, len(units), 4)),
        f"{escape}U{point:08x}",
    ]
    # `repr`, JSON and URLs escape these in short forms of their own.
    if point <= _LAST_OF_LATIN_1:
        forms += [f"{escape}x{point:02x}", f"%(?:25)*{point:02x}"]
    if character in _NAMED:
        forms.append(f"{escape}{_NAMED[character]}")
    if character == " ":
        forms.append(_quoted("+"))
    return f"(?:(?i:{'|'.join(forms)}))"


def _quoted(text: str) -> str:
    """Return a pattern for a text in which each character may be escaped for a URL, also twice."""
    return "".join(
        each
        if each.isascii() and each.isalnum()
        else f"(?:{re.escape(each)}|{''.join(f'%(?:25)*{byte:02x}' for byte in each.encode('utf-8', 'surrogatepass'))})"
        for each in text
    )


def _encoded(secret: str) -> Iterator[str]:
    """Yield the parts by which longer Base64 or hexadecimal texts contain a secret."""
    printed = {each.encode("utf-8", "surrogatepass") for each in (secret, json.dumps(secret)[1:-1], repr(secret)[1:-1])}
    for data in {*printed, secret.encode("latin-1", "ignore")}:  # the latter are the bytes of a field of bytes
        if len(data) < MIN_SCRUBBED_CHARACTERS:
            continue
        yield from (data.hex(), data.hex().upper())
        # Base64 groups three bytes: the same secret has three forms, by its place in the longer text.
        for before in range(3):  # bytes of the same group before the secret
            shown = base64.b64encode(b"\0" * before + data).decode().rstrip("=")
            core = shown[before and before + 1 : len(shown) - bool((before + len(data)) % 3)]
            if len(core) >= MIN_SCRUBBED_CHARACTERS:
                yield core
                yield core.translate(_URL_SAFE)


def _without(text: str, form: str) -> str:
    """Replace a secret's beginning and end where an excerpt has cut the middle out."""
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


def _printed(secret: str) -> Iterator[str]:
    """Yield a secret's forms one by one, to compare them with the text on both sides of a cut."""
    for once in {secret, *_escaped(secret)}:
        yield once
        yield from _escaped(once)
    yield from _encoded(secret)


def _escaped(text: str) -> Iterator[str]:
    yield repr(text)[1:-1]
    yield repr(f"\"'{text}")[4:-1]  # with both quotes before it, its own are escaped
    yield ascii(text)[1:-1]
    yield "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
    yield orjson.dumps(text.encode("utf-8", "replace").decode()).decode()[1:-1]
    yield json.dumps(text)[1:-1]
    yield html.escape(text)
    data = text.encode("utf-8", "surrogatepass")
    yield repr(data)[2:-1]
    yield repr(b"\"'" + data)[5:-1]
    yield from (quote(data), quote(data, safe=""), quote_plus(data))


Hide: typing.TypeAlias = Callable[[Any], Any]
"""From a secret JSON value to its replacement."""


def hide(_: object) -> str:
    """Return a secret's replacement."""
    return HIDDEN


def texts_of(value: object) -> Iterator[str]:
    """Yield the texts in a secret JSON value, key names included, and the numbers as text."""
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


SEALED: Final = "enc:1:"
"""The beginning of every encrypted text. No JSON begins so. The key's id follows, then the salt and the ciphertext."""

_NOT_DECRYPTED: Final = "not decrypted: "


class Unreadable(str):
    """Stands for stored text that could not be decrypted: the reason, so that messages about it say why.

    No codec decodes it, so the engine parks its instance. When the record is written again, the original is written.

    Attributes:
        original: the stored text, or the stored record that contains it.
    """

    __slots__ = ("original",)
    original: object

    def __new__(cls, reason: str, original: object) -> Self:
        """Make one.

        Args:
            reason: why the text could not be decrypted, and how to fix that.
            original: the stored text, or the record.
        """
        text = super().__new__(cls, f"{_NOT_DECRYPTED}{reason}")
        text.original = original
        return text


def key_of(text: str) -> str | None:
    """Return the id of the key that encrypted a text. None if the text is not encrypted."""
    return text[len(SEALED) :].partition(":")[0] if text.startswith(SEALED) else None


def why_unreadable(text: str) -> str | None:
    """Return why text is not JSON, if that is because it is encrypted. Otherwise None."""
    if text.startswith(_NOT_DECRYPTED):
        return text
    key = key_of(text)
    if key is None:
        return None
    return f"encrypted with key {key!r}; pass the keys to the app: App(services, encryption=...)"
