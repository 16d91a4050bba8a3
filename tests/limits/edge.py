"""The form of the tables of limits: how a caller reaches a limit, and the promised answers at it and one beyond it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from perdure import App, Limits
from perdure.testing import World
from perdure.values.errors import HookRaised


@attrs.frozen
class Edge:
    """A limit of the engine, at its edge and one beyond.

    Attributes:
        name: the limit, such as ``mailbox_size``; after a comma, which of its promises.
        limits: small limits, for a world.
        jobs: the jobs of that world.
        reach: uses the limit so many times, or with a value of that size, and returns the last answer.
        edge: the greatest use that the limit permits.
        within: the answer at the edge.
        beyond: the answer one beyond.
        services: of that world.
        stores: on which the answers show the limit: in memory a read returns at once.
    """

    name: str
    limits: Limits
    jobs: tuple[Any, ...]
    reach: Callable[[World, int], object]
    edge: int
    within: object
    beyond: object
    services: Callable[[], object] = object
    stores: tuple[str, ...] = ("memory", "sqlite", "postgres")

    def app(self) -> App[Any]:
        """Return the app of a new world."""
        return App(self.services(), limits=self.limits).with_jobs(*self.jobs)


@attrs.frozen
class Range:
    """A range of valid values: those at its ends are accepted, and those one beyond are refused.

    Attributes:
        name: the parameter as the reference names it, such as ``Retry.max_attempts``.
        make: passes a value, and raises the error.
        valid: the ends.
        refused: one beyond each end.
        error: the class of the error.
    """

    name: str
    make: Callable[[Any], object]
    valid: tuple[object, ...]
    refused: tuple[object, ...]
    error: type[Exception]


def told(error: Any) -> tuple[object, ...]:
    """Return the class and the fields of an error, which itself equals no other; of a defect without its traceback."""
    if isinstance(error, HookRaised):
        return (HookRaised, error.error_type, error.message)
    return (type(error), *attrs.astuple(error, recurse=False))
