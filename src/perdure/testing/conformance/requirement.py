"""A requirement of a store, and the error that reports its violation."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from typing import TypeVar, cast

import attrs
from returns.io import IO, IOResult
from returns.result import Failure, Result
from returns.unsafe import unsafe_perform_io

from perdure.testing.conformance.describe import shown

_TOLD = 16  # lines of a story
_FIRST = 4  # of them from its beginning
_LINE = 300  # characters of a line, so that a failure fits one screen
_END = 60  # of them from its end
_ITEMS = 12  # of a sequence; of longer ones the first difference is shown

A = TypeVar("A")
E = TypeVar("E")


@attrs.frozen
class Requirement:
    """A sentence of the contract in ``perdure.stores.contract``.

    Attributes:
        operation: the field of `Store` that it is about; ``Store`` when it is about all fields.
        text: the sentence, word for word.
    """

    operation: str
    text: str

    def __str__(self) -> str:
        field = "Store" if self.operation == "Store" else f"Store.{self.operation}"
        return f"{field}: {self.text}"


class RequirementViolated(AssertionError):
    """The store violates requirements of ``perdure.stores.contract``.

    Attributes:
        what: the defect, in one line.
        details: the expected and the actual result, a line each.
        requirements: the violated sentences of the contract.
        story: the operations until then, with their results.
    """

    def __init__(
        self,
        what: str,
        *,
        details: Iterable[str] = (),
        requirements: tuple[Requirement, ...] = (),
        story: Iterable[str] = (),
    ) -> None:
        super().__init__(what)
        self.what = what
        self.details = tuple(details)
        self.requirements = requirements
        self.story = tuple(story)

    def within(self, requirements: tuple[Requirement, ...], story: Iterable[str]) -> RequirementViolated:
        """Add the requirements that were being checked, and the operations until then, where they are missing."""
        return RequirementViolated(
            self.what,
            details=self.details,
            requirements=self.requirements or requirements,
            story=self.story or story,
        )

    def __str__(self) -> str:
        lines = [self.what]
        lines += [f"  required by {requirement}" for requirement in self.requirements]
        if self.story:
            lines += ["  operations:", *_numbered(self.story)]
        lines += [f"  {line}" for line in self.details]
        return "\n".join(_cut(line) for text in lines for line in text.splitlines())


def _cut(line: str) -> str:
    if len(line) <= _LINE:
        return line
    return f"{line[: _LINE - _END]} ... ({len(line):,} characters) ... {line[-_END:]}"


def _numbered(story: tuple[str, ...]) -> list[str]:
    lines = [f"    {number}. {line}" for number, line in enumerate(story, 1)]
    return lines if len(lines) <= _TOLD else [*lines[:_FIRST], "    ...", *lines[_FIRST - _TOLD :]]


async def answer(asked: Awaitable[IOResult[A, E]]) -> Result[A, E]:
    """Wait for an operation, and return its result."""
    # An `IOResult` is an `IO` of a `Result` at run time; its class does not say so.
    return unsafe_perform_io(cast("IO[Result[A, E]]", await asked))


async def value(asked: Awaitable[IOResult[A, E]]) -> A:
    """Wait for an operation that must succeed.

    Raises:
        RequirementViolated: it failed.
    """
    found = await answer(asked)
    if isinstance(found, Failure):
        raise RequirementViolated(
            "an operation that has no reason to fail failed", details=(f"the store returned: {shown(found)}",)
        )
    return found.unwrap()


async def failure(asked: Awaitable[IOResult[A, E]], kind: type[BaseException], what: str) -> None:
    """Wait for an operation that must fail with a kind of error.

    Raises:
        RequirementViolated: it succeeded, or failed with something else.
    """
    found = await answer(asked)
    match found:
        case Failure(error) if isinstance(error, kind):
            return
        case _:
            expected = f"expected:           {kind.__name__}"
            raise RequirementViolated(what, details=(expected, f"the store returned: {shown(found)}"))


def same(found: object, expected: object, what: str) -> None:
    """Compare a result of the store with the expected one.

    Raises:
        RequirementViolated: they differ.
    """
    if found != expected:
        raise RequirementViolated(what, details=_difference(found, expected))


def holds(condition: object, what: str) -> None:
    """Check a condition.

    Raises:
        RequirementViolated: it is false.
    """
    if not condition:
        raise RequirementViolated(what)


def _difference(found: object, expected: object) -> tuple[str, str]:
    given, wanted = _items(found), _items(expected)
    if given is None or wanted is None or max(len(given), len(wanted)) <= _ITEMS:
        return f"expected:           {shown(expected)}", f"the store returned: {shown(found)}"
    first = next((at for at, (one, other) in enumerate(zip(given, wanted, strict=False)) if one != other), None)
    at = min(len(given), len(wanted)) if first is None else first
    return f"expected:           {_item(wanted, at)}", f"the store returned: {_item(given, at)}"


def _items(value: object) -> Sequence[object] | None:
    is_sequence = isinstance(value, Sequence) and not isinstance(value, str)
    return cast("Sequence[object]", value) if is_sequence else None


def _item(items: Sequence[object], at: int) -> str:
    here = f"[{at}] is {shown(items[at])}" if at < len(items) else f"there is no [{at}]"
    return f"{len(items)} items; {here}"
