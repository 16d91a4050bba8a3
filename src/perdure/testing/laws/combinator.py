"""The laws of combinators: functions that convert a program to a program, such as a retry or a log around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeAlias

import attrs
from hypothesis import strategies as st
from returns.future import FutureResult
from returns.result import Success

from perdure.programs import Do, Program, Raised, bracket, effect, fail, halt, program, sleep, succeed
from perdure.testing.fault import NO_FAULTS, Crash, Faults
from perdure.testing.laws.law import Law, check_laws
from perdure.testing.simulation.exploration import every_fault
from perdure.testing.simulation.run import simulate
from perdure.testing.simulation.simulated import AnySimulated
from perdure.values.errors import RunTimeout

AnyProgram: TypeAlias = Program[Any, Any, Any]
Combinator: TypeAlias = Callable[[AnyProgram], AnyProgram]

DEPTH = 1_000
"""How deep a combinator is nested in itself to check that it does not overflow the stack."""

_LIMIT = timedelta(days=2)
_FOREVER = "3 days"


def check_combinator(
    combinator: Callable[[AnyProgram], AnyProgram], /, *, depth: int = DEPTH, max_examples: int = 30
) -> None:
    """Check that a combinator keeps the properties of every program.

    - Applying it has no effect; the resulting program can be run again, with the same result.
    - It does not overflow the stack, nested in itself and around long programs.
    - It does not swallow a cancellation.
    - A resource that the inner program acquires is released once, after any exit.

    Args:
        combinator: converts a program to a program, such as ``lambda p: p.timeout("1 minute")``. The checker provides
            the services of the inner programs.
        depth: how deep it is nested, if it runs the inner program at most once.
        max_examples: the number of examples of each law.

    Raises:
        LawViolated: a law does not hold.
    """
    laws = _Laws(combinator)
    check_laws(laws.drawn(), max_examples=max_examples)
    check_laws(laws.fixed(depth), max_examples=1)


# ---------------------------------------------------------------- services
@attrs.frozen
class Denied:
    """The service refused a word."""

    word: str


@attrs.define
class Outside:
    """Records the words that it received; refuses some words, each time."""

    refused: frozenset[str] = frozenset()
    heard: list[str] = attrs.Factory(list[str])


@effect
def reach(services: Outside, word: str) -> FutureResult[int, Denied]:
    """Send a word to the service."""
    services.heard.append(word)
    if word in services.refused:
        return FutureResult.from_failure(Denied(word))
    return FutureResult.from_value(len(services.heard))


def die() -> AnyProgram:
    """Raise an undeclared exception."""

    def broken(_: object) -> None:
        raise ZeroDivisionError

    return succeed(None).map(broken)


@program
def _talking(words: str, begun: list[str]) -> Do[Any, Any, Any]:
    begun.append(words)
    for word in words:
        yield from reach(word)
    return words


_BODIES: tuple[AnyProgram, ...] = (
    succeed("done"),
    fail("failed"),
    halt("halted"),
    die(),
    reach("body"),
    reach("body").bind(lambda _: sleep(_FOREVER)),
)


# ---------------------------------------------------------------- the laws
@attrs.frozen
class _Laws:
    combinator: Combinator

    def drawn(self) -> Iterator[Law]:
        yield Law("applying it has no effect, and its program can be run again", self._runs_again)
        yield Law("an acquired resource is released once, after any exit", self._releases)

    def fixed(self, depth: int) -> Iterator[Law]:
        yield Law("a cancellation is not swallowed", self._is_cancelled)
        yield Law("it does not overflow the stack", lambda _: self._is_safe(depth))

    def _runs_again(self, data: st.DataObject) -> None:
        words = data.draw(st.text("abc", max_size=4), label="words of the inner program")
        refused = frozenset(data.draw(st.sets(st.sampled_from("abc")), label="refused words"))
        begun: list[str] = []
        made = self.combinator(_talking(words, begun))
        assert not begun, "the inner program ran when the combinator was applied"  # noqa: S101 - a law
        first, second = simulate(made, Outside(refused)), simulate(made, Outside(refused))
        assert repr(first) == repr(second), f"the first run:\n{first!r}\nthe second:\n{second!r}"  # noqa: S101

    def _releases(self, data: st.DataObject) -> None:
        body = data.draw(st.sampled_from(_BODIES), label="use of the resource")
        clean = self._around(body, NO_FAULTS)
        plans = [plan for plan in every_fault(clean) if not isinstance(plan[0], Crash)]
        plan = data.draw(st.sampled_from([NO_FAULTS, *plans]), label="faults")
        seen = self._around(body, plan)
        calls = [(call.args, call.answer) for call in seen.calls("reach")]
        acquired = sum(args == ("acquire",) and isinstance(answer, Success) for args, answer in calls)
        released = sum(args == ("release",) for args, _ in calls)
        assert acquired == released, f"acquired {acquired} times and released {released} times:\n{seen!r}"  # noqa: S101

    def _around(self, body: AnyProgram, plan: Faults) -> AnySimulated:
        held = bracket(reach("acquire"), lambda _: body, lambda _: reach("release").attempt())
        return simulate(self.combinator(held), Outside(), faults=plan, run_timeout=_LIMIT)

    def _is_cancelled(self, _: st.DataObject) -> None:
        seen = simulate(self.combinator(sleep(_FOREVER)), Outside(), run_timeout=_LIMIT)
        cancelled = isinstance(seen.exit, Raised) and isinstance(seen.exit.cause, RunTimeout)
        assert cancelled or seen.elapsed < _LIMIT, f"it continued after it was cancelled:\n{seen!r}"  # noqa: S101

    def _is_safe(self, depth: int) -> None:
        long = succeed(0)
        for _ in range(depth):
            long = long.bind(succeed)
        try:
            simulate(self.combinator(long), Outside())
            if len(simulate(self.combinator(reach("a")), Outside()).effects) <= 1:
                self._nested(depth)
        except RecursionError as overflow:
            raise AssertionError(f"{depth} of them overflow the stack: {overflow}") from overflow

    def _nested(self, depth: int) -> None:
        nested: AnyProgram = reach("innermost")
        for _ in range(depth):
            nested = self.combinator(nested)
        seen = simulate(nested, Outside())
        if isinstance(seen.exit, Raised) and isinstance(seen.exit.cause, RecursionError):
            raise seen.exit.cause
