"""A type that has no JSON form."""

from __future__ import annotations


class Unsupported(Exception):
    """Why a type cannot be encoded, on its way to the ``DefinitionError`` that names the definition.

    Attributes:
        path: where in the declared type the offending one stands.
        got: the offending type.
        expected: what to write in its place.
    """

    def __init__(self, path: str, got: object, expected: str) -> None:
        super().__init__(f"{path}: expected {expected}, got {got!r}")
        self.path = path
        self.got = got
        self.expected = expected
