"""The address of an instance: which kind of job, which job, which id."""

from __future__ import annotations

from typing import TypeGuard

import attrs

from perdure.values.errors import DefinitionError, InvalidId
from perdure.values.excerpt import excerpt
from perdure.values.turn_value import turn_value

MAX_NAME_CHARACTERS = 128
MAX_ID_CHARACTERS = 512


@turn_value(order=True)
class Address:
    """Where an instance lives, printed ``kind:name:id``.

    Kind and name hold no colon, so that the printed form can be read back; the id may hold anything.
    """

    kind: str
    name: str
    id: str = attrs.field(repr=excerpt)

    def __hash__(self) -> int:
        return hash(self.id)  # the same id is seldom used by two jobs

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}:{self.id}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address back from its printed form.

        Raises:
            InvalidId: the text is not ``kind:name:id``.
        """
        kind, _, rest = text.partition(":")
        name, colon, id_ = rest.partition(":")
        if not (kind and name and colon):
            raise InvalidId(text, "an address printed as kind:name:id, such as 'task:orders:42'")
        return cls(kind, name, check_id(id_))


def check_name(value: object, *, what: str) -> str:
    """Accept the name of a kind or a job: 1 to 128 printable characters without a colon.

    Raises:
        DefinitionError: it is anything else.
    """
    expected = f"text of 1 to {MAX_NAME_CHARACTERS} printable characters without ':'"
    if not isinstance(value, str) or not value.isprintable() or ":" in value:
        raise DefinitionError(what, value, expected)
    if not 1 <= len(value) <= MAX_NAME_CHARACTERS:
        raise DefinitionError(what, value, expected)
    return value


def check_id(value: object) -> str:
    """Accept an instance id: text of 1 to 512 characters that UTF-8 can carry.

    Raises:
        InvalidId: it is anything else.
    """
    if is_text(value, MAX_ID_CHARACTERS):
        return value
    raise InvalidId(value, f"text of 1 to {MAX_ID_CHARACTERS} characters, without lone surrogates")


def is_text(value: object, max_characters: int) -> TypeGuard[str]:
    """Whether it is text of 1 to so many characters that UTF-8 can carry."""
    return type(value) is str and 0 < len(value) <= max_characters and (value.isascii() or _is_unicode(value))


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
