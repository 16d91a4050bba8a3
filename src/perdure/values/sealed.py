"""The form of encrypted text in stored records, and a text that could not be decrypted."""

from __future__ import annotations

from typing import Final, Self

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
    """Return the id of the key of an encrypted text; None if it is not encrypted."""
    return text[len(SEALED) :].partition(":")[0] if text.startswith(SEALED) else None


def why_unreadable(text: str) -> str | None:
    """Return why text is not JSON, if that is because it is encrypted; otherwise None."""
    if text.startswith(_NOT_DECRYPTED):
        return text
    key = key_of(text)
    if key is None:
        return None
    return f"encrypted with key {key!r}; pass the keys to the app: App(services, encryption=...)"
