"""Do-blocks and calls of services, as values."""

import asyncio
import contextlib
import copy
from typing import Any

import attrs
import pytest
from returns.context import (
    RequiresContext,
    RequiresContextFutureResult,
    RequiresContextIOResult,
    RequiresContextResult,
)
from returns.future import Future, FutureResult
from returns.io import IO, IOFailure, IOResult, IOSuccess
from returns.result import Failure, Result, Success

from perdure.programs import (
    Do,
    Halted,
    Instruction,
    NoInterpreter,
    NotAProgram,
    ServiceCall,
    WouldBlock,
    as_program,
    effect,
    fail,
    halt,
    log,
    perform,
    program,
    run_async,
    run_sync,
    succeed,
    traverse,
    when,
)
from perdure.runtime.record import LogRecord
from perdure.runtime.simulated import Simulation
from perdure.values.errors import DefinitionError


@effect
def add(services, value, *, times=1):
    return Success(services + value * times)


def both(given, services):
    """Run it with either driver, which must agree."""
    exit_ = run_sync(given, services)
    assert asyncio.run(run_async(given, services)) == exit_
    return exit_


def test_a_program_runs_again_with_its_effects():
    seen: list[int] = []

    @program
    def twice(start, *, by=2) -> Do[Any, Any, Any]:
        value = yield from add(start, times=by)
        seen.append(value)
        return value

    built = twice(1, by=3)
    assert seen == []
    assert run_sync(built, 10) == run_sync(built, 10) == Success(13)
    assert seen == [13, 13]


def test_a_function_without_yield_is_refused_when_it_is_decorated():
    def plain():
        return 1

    with pytest.raises(DefinitionError, match=r"@program .*plain.*yield from"):
        program(plain)


USES_AS_A_VALUE = {
    "attribute": (lambda given: given.n, AttributeError, "a Program has no attribute 'n'"),
    "condition": (lambda given: "yes" if given else "no", TypeError, "neither true nor false"),
    "contains": (lambda given: 1 in given, TypeError, "contains no values"),
    "item": (lambda given: given["n"], TypeError, "has no items"),
    "less": (lambda given: given < 1, TypeError, "has no order"),
    "greater": (lambda given: given > 1, TypeError, "has no order"),
    "at most": (lambda given: given <= 1, TypeError, "has no order"),
    "at least": (lambda given: given >= 1, TypeError, "has no order"),
}


@pytest.mark.parametrize(("use", "error", "text"), USES_AS_A_VALUE.values(), ids=USES_AS_A_VALUE)
def test_a_program_that_is_used_as_its_value_suggests_yield_from(use, error, text):
    with pytest.raises(error, match=f"{text}: it is a description of work, not its value; did you forget `yield from`"):
        use(succeed(1))


def test_yield_from_another_value_than_a_program_names_the_alternatives():
    @program
    def inner(operand) -> Do[Any, Any, Any]:
        return (yield from operand)

    @program
    def outer(operand) -> Do[Any, Any, Any]:
        return (yield from inner(operand))

    waiting = _awaited(1)
    for operand, text in ((5, "'int' object is not iterable"), (waiting, "cannot 'yield from' a coroutine object")):
        exit_ = run_sync(outer(operand), None)
        assert str(exit_.cause).startswith(text)
        assert str(exit_.cause).count("expects a Program; succeed(value) makes one of a value") == 1
        assert "`async def` with @effect" in str(exit_.cause)
        assert "return (yield from operand)" in exit_.formatted()
    waiting.close()


def test_other_type_errors_of_a_do_block_keep_their_text():
    @program
    def adds(operand) -> Do[Any, Any, Any]:
        yield from succeed(operand + 1)

    assert str(run_sync(adds("1"), None).cause) == 'can only concatenate str (not "int") to str'


def test_protocols_that_look_for_private_names_find_none():
    given = succeed(1)
    assert copy.copy(given) is copy.deepcopy(given) is given
    with pytest.raises(AttributeError) as raised:
        given.__array__  # noqa: B018
    assert "yield from" not in str(raised.value)
    assert not hasattr(given, "unwrap")


async def _awaited(value):
    await asyncio.sleep(0)
    return value


ANSWERS = {
    "Result": (Success, Success(1)),
    "failed Result": (Failure, Failure(1)),
    "IOResult": (IOSuccess, Success(1)),
    "failed IOResult": (IOFailure, Failure(1)),
    "FutureResult": (FutureResult.from_value, Success(1)),
    "failed FutureResult": (FutureResult.from_failure, Failure(1)),
    "IO": (IO, Success(1)),
    "IO of a Result": (lambda s: IO(Failure(s)), Success(Failure(1))),
    "Future": (Future.from_value, Success(1)),
    "awaitable Result": (lambda s: _awaited(Failure(s)), Failure(1)),
    "awaitable IOResult": (lambda s: _awaited(IOSuccess(s)), Success(1)),
    "reader": (lambda _: RequiresContext(lambda s: s), Success(1)),
    "reader of Result": (lambda _: RequiresContextResult(Failure), Failure(1)),
    "reader of IOResult": (lambda _: RequiresContextIOResult(IOResult.from_value), Success(1)),
    "reader of FutureResult": (lambda _: RequiresContextFutureResult(FutureResult.from_value), Success(1)),
    "Halted": (Halted, Halted(1)),
    "value": (lambda _: 1.5, Success(1.5)),
}


@pytest.mark.parametrize(("function", "exit_"), ANSWERS.values(), ids=ANSWERS)
def test_an_effect_may_return_any_container(function, exit_):
    assert both(effect(function)(), 1) == exit_


def test_an_effect_may_be_async():
    @effect
    async def double(services):
        return Success(await _awaited(services * 2))

    assert both(double(), 4) == Success(8)


def test_an_effect_keeps_its_name_and_arguments_as_data():
    calls: list[Any] = []

    def recording(instruction, services):
        calls.append(instruction)
        return instruction.fn(services, *instruction.args, **instruction.kwargs)

    assert run_sync(add(2, times=5), 1, handler=recording) == Success(11)
    assert calls == [ServiceCall("add", (2,), {"times": 5}, print)]
    assert calls != [ServiceCall("add", (2,), {}, print)]
    assert repr(calls[0]) == "add(2, times=5)"
    assert repr(add(2)) == "<Program perform add(2)>"
    assert add.__name__ == "add"


@attrs.frozen
class Ask(Instruction[str, str]):
    question: str


def test_an_instruction_is_answered_by_the_handler_or_is_a_defect():
    asked = perform(Ask("who?"))
    assert run_sync(asked, None, handler=lambda instruction, _: instruction.question.upper()) == Success("WHO?")
    assert isinstance(run_sync(asked, None).cause, NoInterpreter)
    assert "Ask(question='who?')" in str(run_sync(asked, None).cause)


def test_a_real_wait_is_refused_without_an_event_loop():
    loop = asyncio.new_event_loop()

    @effect
    async def wait(_):
        await loop.create_future()

    for simulation in (None, Simulation()):
        cause = run_sync(wait(), None, simulation=simulation).cause
        assert isinstance(cause, WouldBlock)
    assert "wait()" in str(run_sync(wait(), None).cause)
    loop.close()


def test_a_service_that_never_stops_waiting_is_given_up():
    loop = asyncio.new_event_loop()

    @effect
    async def stubborn(_):
        while True:
            with contextlib.suppress(WouldBlock):
                await loop.create_future()

    assert isinstance(run_sync(stubborn(), None).cause, WouldBlock)
    loop.close()


def test_traverse_runs_in_order_and_stops_at_the_first_failure():
    seen: list[int] = []

    def visit(number):
        seen.append(number)
        return fail(number) if number == 3 else add(number)

    assert run_sync(traverse([1, 2], visit), 10) == Success((11, 12))
    assert run_sync(traverse([1, 2, 3, 4], visit), 10) == Failure(3)
    assert seen == [1, 2, 1, 2, 3]


def test_when_runs_only_if():
    assert run_sync(when(True, add(1)), 1) == Success(None)
    assert run_sync(when(True, fail("e")), 1) == Failure("e")
    assert run_sync(when(False, fail("e")), 1) == Success(None)


def test_log_reaches_the_runtime():
    simulation = Simulation()
    assert run_sync(log("a sentence", level="warning", key=1), None, simulation=simulation) == Success(None)
    assert simulation.logs == [LogRecord("warning", "a sentence", {"key": 1})]


OUTCOMES = {
    "program": (succeed(1), Success(1)),
    "Result": (Failure(1), Failure(1)),
    "IOResult": (IOSuccess(1), Success(1)),
    "reader": (RequiresContext(lambda s: s), Success(7)),
    "reader of Result": (RequiresContextResult(Failure), Failure(7)),
    "reader of IOResult": (RequiresContextIOResult(IOResult.from_value), Success(7)),
    "reader of FutureResult": (RequiresContextFutureResult(FutureResult.from_value), Success(7)),
    "IO": (IO(1), Success(1)),
}


@pytest.mark.parametrize(("outcome", "exit_"), OUTCOMES.values(), ids=OUTCOMES)
def test_as_program_takes_every_container(outcome, exit_):
    assert both(as_program(outcome), 7) == exit_


def test_as_program_takes_futures():
    assert run_sync(as_program(FutureResult.from_failure(1)), None) == Failure(1)
    assert run_sync(as_program(Future.from_value(1)), None) == Success(1)


@pytest.mark.parametrize("wrong", [None, 1, "text", lambda: succeed(1)])
def test_as_program_refuses_other_values_than_containers(wrong):
    with pytest.raises(NotAProgram, match="expected a Program, a Result"):
        as_program(wrong)


def test_services_can_be_changed_and_provided():
    assert run_sync(add(1).modify_env(len), "abc") == Success(4)
    assert run_sync(add(1).provide(5).bind(add), 100) == Success(106)
    assert run_sync(fail("e").modify_env(str).lash(lambda _: add(1)), 100) == Success(101)
    assert run_sync(halt("h").provide(5), None) == Halted("h")


def test_run_async_needs_asyncio_only_for_time():
    coroutine = run_async(add(1), 1)
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    assert stop.value.value == Success(2)


def test_a_pinned_name_is_a_short_text() -> None:
    def work(_services: object) -> Result[int, str]:
        return Success(1)

    assert run_sync(effect(name="n" * 128)(work)(), None) == Success(1)
    for wrong in ("", "n" * 129):
        with pytest.raises(DefinitionError, match="name of an effect"):
            effect(name=wrong)
