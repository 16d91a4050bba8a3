"""Requests that take long and cost little: at most so many at once; a further one is refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import attrs

from perdure.values.errors import Overloaded

T = TypeVar("T")


@attrs.define(eq=False)
class AtMost:
    """Performs so much at once.

    Attributes:
        limit: how much.
        name: of the limit, for the error.
    """

    limit: int
    name: str
    _count: int = 0

    async def perform(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do the work.

        Raises:
            Overloaded: so much is under way already.
        """
        if self._count >= self.limit:
            raise Overloaded(self.name, self.limit)
        self._count += 1
        try:
            return await work()
        finally:
            self._count -= 1
