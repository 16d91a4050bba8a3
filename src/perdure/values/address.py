"""Addresses: the job kind, the job's name and the instance id."""

from __future__ import annotations

from typing import TypeAlias, TypeGuard

import attrs

from perdure.values.errors import DefinitionError, InvalidId
from perdure.values.excerpt import excerpt
from perdure.values.frozen import turn_value

Job: TypeAlias = tuple[str, str]
"""A job, by its kind and its name."""


MAX_NAME_CHARACTERS = 128
MAX_ID_CHARACTERS = 512


@turn_value(order=True)
class Address:
    """An instance's kind, job name and id, printed ``kind:name:id``.

    Kind and name contain no colon, so that the printed form can be parsed. The id may contain any character.
    """

    kind: str
    name: str
    id: str = attrs.field(repr=excerpt)

    def __hash__(self) -> int:
        return hash(self.id)  # two jobs seldom use the same id

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}:{self.id}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse an address from its printed form.

        Raises:
            InvalidId: the text is not ``kind:name:id``.
        """
        kind, _, rest = text.partition(":")
        name, colon, id_ = rest.partition(":")
        if not (kind and name and colon):
            raise InvalidId(text, "an address printed as kind:name:id, such as 'task:orders:42'")
        return cls(kind, name, check_id(id_))


def promise_of(text: str) -> tuple[Address, str]:
    """Return the workflow and the name in a promise's id.

    Raises:
        InvalidId: it is not ``workflow:JOB:ID/NAME``.
    """
    address, slash, name = text.rpartition("/")
    if not (slash and name):
        raise InvalidId(text, "a promise printed as workflow:JOB:ID/NAME, such as 'workflow:orders:7/payment'")
    return Address.parse(address), name


def check_name(value: object, *, what: str) -> str:
    """Return a kind name or job name if it is valid: 1 to 128 printable characters without a colon.

    Raises:
        DefinitionError: the name is not valid.
    """
    expected = f"text of 1 to {MAX_NAME_CHARACTERS} printable characters without ':'"
    # The colon ends a name in the printed form, which stores use as a key.
    if not isinstance(value, str) or not value.isprintable() or ":" in value:
        raise DefinitionError(what, value, expected)
    if not 1 <= len(value) <= MAX_NAME_CHARACTERS:
        raise DefinitionError(what, value, expected)
    return value


def check_id(value: object) -> str:
    """Return an instance id if it is valid: text with 1 to 512 characters that UTF-8 can encode.

    Raises:
        InvalidId: the id is not valid.
    """
    if is_text(value, MAX_ID_CHARACTERS):
        return value
    raise InvalidId(value, f"text of 1 to {MAX_ID_CHARACTERS} characters, without lone surrogates")


def is_text(value: object, max_characters: int) -> TypeGuard[str]:
    """Return whether a value is text with 1 to ``max_characters`` characters that UTF-8 can encode."""
    # A lone surrogate cannot be encoded: the store would fail on it in the middle of a commit.
    return type(value) is str and 0 < len(value) <= max_characters and (value.isascii() or _is_unicode(value))


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
