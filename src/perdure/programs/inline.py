"""Runs a do-block whose instructions are all answered at once, without the interpreter's loop."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Final, Never, TypeVar

from returns.result import Success

from perdure.programs.container import Program, node
from perdure.programs.drivers import Suspended
from perdure.programs.exit import Exit, Raised
from perdure.programs.instructions import ASK, DO, PERFORM
from perdure.programs.interception import PASS, Interceptor
from perdure.programs.interpreter import Loop, interpret

A = TypeVar("A")
E = TypeVar("E")
R = TypeVar("R")

NOTHING: Final[Success[None]] = Success(None)


def run_inline(program: Program[A, E, R], services: R, interceptor: Interceptor) -> Exit[A, E] | Suspended[A, E]:
    """Run a program until it needs an instruction that the interceptor does not answer.

    Most event handlers are a block that reads the state and sets it. As long as a program is such a block and each
    answer is a plain value, this does the same as the interpreter. Everything else continues there.

    Args:
        program: the program.
        services: its services.
        interceptor: receives each instruction first. It answers with plain values, never with an exit.

    Returns:
        The exit, a defect included, or the program, suspended at the instruction.
    """
    rest: Any = program
    tag, first, second = rest._inner_value  # noqa: SLF001 - as the interpreter does
    block: Any = None  # a generator, once it is made
    answer: Any = None
    # Only blocks: each other node would be a second implementation of the interpreter.
    while tag == DO and program.__class__ is Program:
        try:
            if block is None:
                block = first(*second)
            current = block.send(answer)
        except StopIteration as stop:
            exit_: Exit[Any, Any] = NOTHING if stop.value is None else Success(stop.value)
            return exit_
        except BaseException as raised:  # noqa: BLE001 - the interpreter decides
            # Raised again by the interpreter: one place decides about defects, cancellations and exits.
            rest, block = _raising(raised), None
            break
        rest = current
        if current.__class__ is not Program:
            break
        instruction_tag, instruction, _ = current._inner_value  # noqa: SLF001 - as above
        # A program that a block only returns, or composes, is not an instruction: performed here, its frames would be
        # skipped.
        if instruction_tag != PERFORM:
            break
        try:
            answer = interceptor.answer(instruction)
        except BaseException as raised:  # noqa: BLE001 - as above; it is raised inside the block
            rest = _raising(raised)
            break
        if answer is PASS:
            break
    # With the block as it is now: begun again, it would perform its first instructions twice.
    return _interpreted(rest, services, interceptor, block)


def run_to_first_effect(loop: Loop[A, E]) -> Exit[A, E] | Suspended[A, E]:
    """Run a program until it yields an instruction. Return that, or its exit, a defect included."""
    try:
        return Suspended(loop, loop.send(None))
    except StopIteration as stop:
        exit_: Exit[A, E] = stop.value
        return exit_
    except BaseException as raised:  # noqa: BLE001 - a defect of the run, of whatever class
        return Raised(raised)


def _interpreted(
    program: Any, services: Any, interceptor: Interceptor, inside: Generator[Any, Any, Any] | None
) -> Exit[Any, Any] | Suspended[Any, Any]:
    return run_to_first_effect(interpret(program, services, (interceptor,), None, inside))


def _raising(raised: BaseException) -> Program[Any, Any, Any]:
    def again(_: object) -> Never:
        raise raised

    function: Callable[[object], Never] = again
    return node(ASK, function)
