"""What of `returns` works on programs: they are containers as any other."""

import asyncio
from typing import Any

from returns.context import RequiresContext, RequiresContextFutureResult, RequiresContextIOResult, RequiresContextResult
from returns.future import Future, FutureResult
from returns.interfaces.specific.future_result import FutureResultLikeN
from returns.interfaces.specific.ioresult import IOResultLikeN
from returns.interfaces.specific.reader_future_result import ReaderFutureResultBasedN, ReaderFutureResultLikeN
from returns.interfaces.specific.result import ResultLikeN
from returns.io import IO, IOFailure, IOResult, IOSuccess
from returns.iterables import Fold
from returns.methods import cond, unwrap_or_failure
from returns.pipeline import flow, managed, pipe
from returns.pointfree import (
    alt,
    apply,
    bimap,
    bind,
    bind_async,
    bind_async_context_future_result,
    bind_async_future,
    bind_async_future_result,
    bind_awaitable,
    bind_context,
    bind_context_future_result,
    bind_context_ioresult,
    bind_context_result,
    bind_future,
    bind_future_result,
    bind_io,
    bind_ioresult,
    bind_result,
    compose_result,
    lash,
    map_,
    modify_env,
    unify,
)
from returns.primitives.container import BaseContainer
from returns.result import Failure, Result, Success

from perdure.programs import Program, asks, fail, halt, run_sync, succeed
from perdure.programs.instructions import HaltedOutside


def test_a_program_is_a_container():
    for interface in (
        BaseContainer,
        ResultLikeN,
        IOResultLikeN,
        FutureResultLikeN,
        ReaderFutureResultLikeN,
        ReaderFutureResultBasedN,
    ):
        assert isinstance(succeed(1), interface)


def test_flow_pipe_and_pointfree():
    assert run_sync(flow(succeed(1), map_(str), bind(lambda text: succeed(text + "!"))), None) == Success("1!")
    assert run_sync(flow(fail("e"), alt(str.upper), lash(lambda error: succeed(error * 2))), None) == Success("EE")
    assert run_sync(pipe(modify_env(len))(asks(lambda number: number)), "abc") == Success(3)
    assert run_sync(bimap(str, len)(fail("abc")), None) == Failure(3)
    assert run_sync(flow(succeed(2), apply(succeed(str))), None) == Success("2")
    assert run_sync(flow(succeed(1), unify(lambda value: fail(value + 1))), None) == Failure(2)
    assert run_sync(flow(fail("e"), compose_result(lambda result: succeed(result.failure()))), None) == Success("e")


async def _in_a_coroutine(value: Any) -> Any:
    await asyncio.sleep(0)
    return value


def test_every_bind_continues_with_its_container():
    reader = RequiresContextFutureResult
    steps: list[Any] = [
        bind_result(lambda v: Success(v + 1)),
        bind_io(lambda v: IO(v + 1)),
        bind_ioresult(lambda v: IOSuccess(v + 1)),
        bind_future(lambda v: Future.from_value(v + 1)),
        bind_future_result(lambda v: FutureResult.from_value(v + 1)),
        bind_async_future(lambda v: _in_a_coroutine(Future.from_value(v + 1))),
        bind_async_future_result(lambda v: _in_a_coroutine(FutureResult.from_value(v + 1))),
        bind_awaitable(lambda v: _in_a_coroutine(v + 1)),
        bind_async(lambda v: _in_a_coroutine(succeed(v + 1))),
        bind_context(lambda v: RequiresContext(lambda services: v + services)),
        bind_context_result(lambda v: RequiresContextResult(lambda services: Success(v + services))),
        bind_context_ioresult(lambda v: RequiresContextIOResult(lambda services: IOSuccess(v + services))),
        bind_context_future_result(lambda v: reader(lambda services: FutureResult.from_value(v + services))),
        bind_async_context_future_result(lambda v: _in_a_coroutine(reader(lambda s: FutureResult.from_value(v + s)))),
    ]
    for number, step in enumerate(steps):
        assert run_sync(flow(succeed(5), step), 1) == Success(6), number
        assert run_sync(flow(fail("e"), step), 1) == Failure("e"), number
    assert run_sync(flow(succeed(0), *steps), 1) == Success(len(steps))


def test_a_result_that_is_awaited_is_a_value():
    assert run_sync(flow(succeed(1), bind_awaitable(lambda v: _in_a_coroutine(Failure(v)))), None) == (
        Success(Failure(1))
    )


def test_every_from_makes_a_program():
    made = {
        Program.from_value(1): Success(1),
        Program.from_failure(1): Failure(1),
        Program.from_result(Failure(1)): Failure(1),
        Program.from_io(IO(1)): Success(1),
        Program.from_failed_io(IO(1)): Failure(1),
        Program.from_ioresult(IOFailure(1)): Failure(1),
        Program.from_future(Future.from_value(1)): Success(1),
        Program.from_failed_future(Future.from_value(1)): Failure(1),
        Program.from_future_result(FutureResult.from_failure(1)): Failure(1),
        Program.from_context(RequiresContext(lambda s: s)): Success(7),
        Program.from_failed_context(RequiresContext(lambda s: s)): Failure(7),
        Program.from_result_context(RequiresContextResult(Failure)): Failure(7),
        Program.from_ioresult_context(RequiresContextIOResult(IOResult.from_value)): Success(7),
        Program.from_future_result_context(RequiresContextFutureResult(FutureResult.from_value)): Success(7),
        Program.ask(): Success(7),
    }
    for program, exit_ in made.items():
        assert run_sync(program, 7) == exit_


def test_fold_collects():
    assert run_sync(Fold.collect([succeed(1), succeed(2)], succeed(())), None) == Success((1, 2))
    assert run_sync(Fold.collect([succeed(1), fail("x"), fail("y")], succeed(())), None) == Failure("x")
    assert run_sync(Fold.collect_all([succeed(1), fail("x"), succeed(3)], succeed(())), None) == Success((1, 3))


def test_managed_releases():
    released: list[tuple[int, Result[int, str]]] = []

    def release(resource: int, outcome: Result[int, str]) -> Program[None]:
        released.append((resource, outcome))
        return succeed(None)

    assert run_sync(managed(lambda resource: succeed(resource + 1), release)(succeed(1)), None) == Success(2)
    assert run_sync(managed(lambda _: fail("e"), release)(succeed(1)), None) == Failure("e")
    assert released == [(1, Success(2)), (1, Failure("e"))]


def test_cond_chooses():
    assert run_sync(cond(Program, True, 1, "no"), None) == Success(1)
    assert run_sync(cond(Program, False, 1, "no"), None) == Failure("no")


def test_the_reader_view_is_a_future_result():
    assert asyncio.run(asks(lambda number: number + 1)(1).awaitable()) == IOSuccess(2)
    assert asyncio.run(fail("x")(None).awaitable()) == IOFailure("x")
    outside = RequiresContextFutureResult(asks(lambda number: number + 1))
    assert asyncio.run(outside.map(str)(1).awaitable()) == IOSuccess("2")


def test_the_reader_view_raises_exits_that_a_future_result_cannot_express():
    async def raised(program: Program[Any, Any, Any]) -> BaseException | None:
        try:
            await program(None)
        except Exception as exception:  # noqa: BLE001
            return exception
        return None

    assert isinstance(asyncio.run(raised(succeed(1).map(lambda value: value / 0))), ZeroDivisionError)
    halted = asyncio.run(raised(halt("h")))
    assert isinstance(halted, HaltedOutside)
    assert halted.signal == "h"


def test_programs_are_equal_by_identity_and_show_only_their_top():
    one = succeed(1)
    assert one == one  # noqa: PLR0124
    assert one != succeed(1)
    assert len({one, one}) == 1
    assert repr(one) == "<Program succeed 1>"
    assert repr(one.map(str)) == "<Program map>"
    assert unwrap_or_failure(run_sync(one, None)) == 1
