"""A program that runs without the loop of the interpreter does and returns the same as one that runs in it.

The engine begins plain events with ``run_inline``, and performs the effects of claimed runs with
``run_while_answered`` as long as services answer at once. The specification of both is ``interpret``, driven to its end
by ``Suspended.resume``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

from attrs import define, field, frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st
from returns.result import Failure, Result, Success

from perdure import effect, fail, program, succeed
from perdure.programs import PASS, Exit, Instruction, Program, Raised, halt, perform
from perdure.programs.drivers import Suspended, default_handler, run_inline, run_to_first_effect, run_while_answered
from perdure.programs.interpreter import interpret
from perdure.runtime.simulated import Simulation
from perdure.testing.laws import programs

Deed: TypeAlias = tuple[str, Any]
Begin: TypeAlias = Callable[[Program[Any, Any, Any], "Services", "Memory"], Exit[Any, Any] | Suspended[Any, Any]]

REFUSED = 13


@frozen
class Read(Instruction[Any, Any]):
    """Read the memory."""


@frozen
class Write(Instruction[Any, Any]):
    """Replace the memory, unless the value is refused."""

    value: int


@define
class Memory:
    """Answers reads and writes, as a draft does, and passes everything else: it may be asked that twice."""

    value: int = 0
    log: list[object] = field(factory=list)

    def answer(self, instruction: object, /) -> object:
        if not isinstance(instruction, Read | Write):
            return PASS
        self.log.append(instruction)
        if isinstance(instruction, Read):
            return self.value
        if instruction.value == REFUSED:
            raise ValueError("it is refused")
        self.value = instruction.value
        return None

    def branch(self) -> Memory:
        return self


@define
class Services:
    """Records the calls of services."""

    heard: list[str] = field(factory=list)


@effect
def call(services: Services, how: str) -> Any:
    services.heard.append(how)
    if how == "raise":
        raise ValueError(how)
    if how == "wait":
        return awaited(services)
    return Failure(how) if how == "fail" else Success(how)


async def awaited(services: Services) -> Result[str, str]:
    services.heard.append("awaited")
    return Success("awaited")


@program
def block(deeds: list[Deed]) -> Any:  # noqa: C901, PLR0912 - one branch for each deed
    """Do these deeds one after the other, and return the answers to them."""
    seen: list[Any] = []
    for verb, value in deeds:
        match verb:
            case "read":
                seen.append((yield from perform(Read())))
            case "write":
                seen.append((yield from perform(Write(value))))
            case "try to write":
                with suppress(ValueError):
                    seen.append((yield from perform(Write(value))))
            case "call":
                seen.append((yield from call(value)))
            case "program":
                seen.append((yield from value))
            case "in itself":
                seen.append((yield from block(value)))
            case "attempt":
                seen.append((yield from block(value).attempt()))
            case "catch":
                with suppress(Exception):
                    seen.append((yield from block(value)))
            case "finally":
                try:
                    seen.append((yield from block(value)))
                finally:
                    seen.append((yield from perform(Read())))
            case "raise":
                raise value(seen)
            case "no program":
                seen.append((yield value))
            case _:
                return seen
    return None


hows = st.sampled_from(("succeed", "succeed", "fail", "raise", "wait"))
errors = st.sampled_from((ValueError, KeyError, KeyboardInterrupt))
leaves: st.SearchStrategy[Deed] = (
    st.tuples(st.sampled_from(("read", "return")), st.none())
    | st.tuples(st.sampled_from(("write", "try to write")), st.sampled_from((1, 2, REFUSED)))
    | st.tuples(st.just("call"), hows)
    | st.tuples(st.just("program"), st.sampled_from((succeed(Read()), fail("failed"), halt("halted"))) | programs())
    | st.tuples(st.just("raise"), errors)
    | st.tuples(st.just("no program"), st.sampled_from((7, None)))
)
deeds = st.recursive(
    leaves,
    lambda inner: (
        leaves | st.tuples(st.sampled_from(("in itself", "attempt", "catch", "finally")), st.lists(inner, max_size=4))
    ),
    max_leaves=8,
)
drawn = st.lists(deeds, max_size=8).map(lambda each: lambda: block(each)) | programs().map(lambda each: lambda: each)


def general(program_: Program[Any, Any, Any], services: Services, memory: Memory) -> Any:
    return run_to_first_effect(interpret(program_, services, (memory,)))


def shown(exit_: Any) -> object:
    """An exit, without the traceback."""
    return (type(exit_.cause), repr(exit_.cause)) if isinstance(exit_, Raised) else exit_


def resumed(begun: Any) -> object:
    """Drive a program to its end, in a task."""
    if not isinstance(begun, Suspended):
        return shown(begun)
    simulation = Simulation()
    try:
        return shown(simulation.run(begun.resume(runtime=simulation.runtime)))
    except BaseException as raised:  # noqa: BLE001 - as a task of the engine sees it
        return shown(Raised(raised))


def asked(begun: Any) -> object:
    """Return the instruction at which a program is suspended, or its exit."""
    return begun.asked[0] if isinstance(begun, Suspended) else shown(begun)


@given(drawn)
@example(lambda: block([("program", succeed(Read()))]))
@settings(max_examples=300)
def test_a_straight_run_is_that_of_the_interpreter(make: Callable[[], Program[Any, Any, Any]]) -> None:
    one, other = (Services(), Memory()), (Services(), Memory())
    straight, specified = run_inline(make(), *one), general(make(), *other)
    assert asked(straight) == asked(specified)
    assert one == other
    assert resumed(straight) == resumed(specified)
    assert one == other


@given(drawn)
@example(lambda: block([("call", "wait")]))
@settings(max_examples=300)
def test_effects_that_are_answered_at_once_are_those_of_a_task(make: Callable[[], Program[Any, Any, Any]]) -> None:
    one, other = (Services(), Memory()), (Services(), Memory())
    begun, specified = general(make(), *one), general(make(), *other)
    if isinstance(begun, Suspended):
        begun = run_while_answered(begun, default_handler, lambda _: False)
    assert resumed(begun) == resumed(specified)
    assert one == other
