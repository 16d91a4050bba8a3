"""How a case says that a store broke its promise."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar, cast

from returns.io import IO, IOResult
from returns.result import Failure, Result
from returns.unsafe import unsafe_perform_io

A = TypeVar("A")
E = TypeVar("E")


class BrokenPromise(AssertionError):
    """The store does not do what ``perdure.stores.store`` promises."""


async def answer(asked: Awaitable[IOResult[A, E]]) -> Result[A, E]:
    """Wait for an operation, and give its answer as a plain result."""
    # An `IOResult` is an `IO` of a `Result` at run time; its class does not say so.
    return unsafe_perform_io(cast("IO[Result[A, E]]", await asked))


async def value(asked: Awaitable[IOResult[A, E]]) -> A:
    """Wait for an operation that must succeed.

    Raises:
        BrokenPromise: it failed.
    """
    found = await answer(asked)
    if isinstance(found, Failure):
        raise BrokenPromise(f"an operation that has no reason to fail answered {found}")
    return found.unwrap()


async def failure(asked: Awaitable[IOResult[A, E]], kind: type[BaseException], promise: str) -> None:
    """Wait for an operation that must fail with a kind of error.

    Raises:
        BrokenPromise: it succeeded, or failed with something else.
    """
    found = await answer(asked)
    match found:
        case Failure(error) if isinstance(error, kind):
            return
        case _:
            raise BrokenPromise(f"{promise}\n  expected: a {kind.__name__}\n  found:    {found!r}")


def same(found: object, expected: object, promise: str) -> None:
    """Compare what a store gave with what it must give.

    Raises:
        BrokenPromise: they differ.
    """
    if found != expected:
        raise BrokenPromise(f"{promise}\n  expected: {expected!r}\n  found:    {found!r}")


def holds(condition: object, promise: str) -> None:
    """Check a condition.

    Raises:
        BrokenPromise: it is false.
    """
    if not condition:
        raise BrokenPromise(promise)
