"""The state of a client before its block begins: a wrong use raises an error that shows the right one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NoReturn


class NotEntered:
    """A context manager of a client. Its errors show how to enter it.

    Type checkers do not see these methods, so they report the same mistakes.
    """

    __slots__ = ()

    usage: ClassVar[str]
    """The block that enters it, such as ``async with app.open(store) as jobs:``."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):
                raise AttributeError(name)
            raise AttributeError(f"no {name!r} outside the block: expected '{self.usage}'")


class AsyncNotEntered(NotEntered):
    """Refuses a block without ``async``."""

    __slots__ = ()

    if not TYPE_CHECKING:

        def __enter__(self) -> NoReturn:
            raise TypeError(f"expected '{self.usage}'; got 'with'")

        def __exit__(self, *_: object) -> None:
            """Satisfy Python, which looks for it before it enters."""


class SyncNotEntered(NotEntered):
    """Refuses a block with ``async``."""

    __slots__ = ()

    if not TYPE_CHECKING:

        async def __aenter__(self) -> NoReturn:
            raise TypeError(f"expected '{self.usage}'; got 'async with'")

        async def __aexit__(self, *_: object) -> None:
            """Satisfy Python, which looks for it before it enters."""
