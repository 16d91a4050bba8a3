"""What both type checkers must infer. Checked, never run."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Never, Protocol, assert_never, assert_type

from returns.context import RequiresContextFutureResult
from returns.future import Future, FutureResult
from returns.io import IO, IOResult
from returns.result import Failure, Result, Success

from perdure.programs import (
    Do,
    EffectTimeout,
    Exit,
    Halted,
    Instruction,
    Program,
    Raised,
    as_program,
    asks,
    bracket,
    effect,
    fail,
    gather,
    halt,
    lift,
    now,
    perform,
    program,
    race,
    run_async,
    run_sync,
    sandbox,
    sleep,
    sleep_until,
    succeed,
    traverse,
    when,
)


class Clock(Protocol):
    def read(self) -> int: ...


class HasClock(Protocol):
    @property
    def clock(self) -> Clock: ...


class HasName(Protocol):
    @property
    def name(self) -> str: ...


class Both(HasClock, HasName, Protocol): ...


class Late: ...


class Lost: ...


@effect
def read_result(services: HasClock, scale: int, *, zone: str = "UTC") -> Result[int, Late]:
    return Success(services.clock.read() * scale)


@effect
def read_future(services: HasClock) -> FutureResult[int, Late]:
    return FutureResult.from_value(services.clock.read())


@effect
def read_io_result(services: HasName) -> IOResult[str, Lost]:
    return IOResult.from_value(services.name)


@effect
async def read_async(services: HasName) -> Result[str, Lost]:
    return Success(services.name)


@effect
def read_awaitable(services: HasName) -> Awaitable[Result[str, Lost]]:
    raise NotImplementedError


@effect
def read_reader(services: HasName) -> RequiresContextFutureResult[str, Lost, HasName]:
    raise NotImplementedError


@effect
def read_io(services: HasName) -> IO[str]:
    return IO(services.name)


@effect
def read_plain_future(services: HasName) -> Future[str]:
    return Future.from_value(services.name)


@effect
def read_io_of_clock(services: HasClock) -> IO[int]:
    return IO(services.clock.read())


@effect(name="read")
def read_named(services: HasClock, scale: int) -> Result[int, Late]:
    return Success(services.clock.read() * scale)


assert_type(read_named(2), Program[int, Late, HasClock])
assert_type(read_result(2, zone="CET"), Program[int, Late, HasClock])
assert_type(read_future(), Program[int, Late, HasClock])
assert_type(read_io_result(), Program[str, Lost, HasName])
assert_type(read_async(), Program[str, Lost, HasName])
assert_type(read_awaitable(), Program[str, Lost, HasName])
assert_type(read_reader(), Program[str, Lost, HasName])
assert_type(read_io(), Program[str, Never, HasName])
assert_type(read_plain_future(), Program[str, Never, HasName])

assert_type(succeed(1), Program[int, Never, object])
assert_type(fail(Late()), Program[Never, Late, object])
assert_type(halt("h"), Program[Never, Never, object])
assert_type(now(), Program[datetime, Never, object])
assert_type(sleep("1s"), Program[None, Never, object])
assert_type(sleep_until(datetime.now(UTC)), Program[None, Never, object])


@program
def work(scale: int) -> Do[str, Late | Lost, Both]:
    number = yield from read_result(scale)
    assert_type(number, int)
    name = yield from read_async()
    assert_type(name, str)
    answer = yield from read_future().attempt()
    assert_type(answer, Success[int] | Failure[Late])
    match answer:
        case Success(value):
            assert_type(value, int)
        case Failure(error):
            assert_type(error, Late)
        case _:
            assert_never(answer)
    both = yield from gather(read_future(), read_result(1))
    assert_type(both, tuple[int, int])
    return name * number


assert_type(work(2), Program[str, Late | Lost, Both])
assert_type(work(2).map(len), Program[int, Late | Lost, Both])
assert_type(work(2).timeout("5s"), Program[str, Late | Lost | EffectTimeout, Both])
assert_type(work(2).or_raise(), Program[str, Never, Both])
assert_type(work(2).map_error(str), Program[str, str, Both])
assert_type(work(2).alt(str), Program[str, str, Both])
assert_type(work(2).swap(), Program[Late | Lost, str, Both])
assert_type(work(2).on_exit(sleep("1s")), Program[str, Late | Lost, Both])


def again(value: int) -> Program[str, Lost, HasClock]:
    raise NotImplementedError


def recover(error: Late) -> Program[str, Lost, HasClock]:
    raise NotImplementedError


assert_type(read_future().bind(again), Program[str, Late | Lost, HasClock])
assert_type(succeed(1).bind(again), Program[str, Lost, HasClock])
assert_type(read_future().or_else(recover), Program[int | str, Lost, HasClock])
assert_type(fail(Late()).or_else(recover), Program[str, Lost, HasClock])
assert_type(read_future().lash(recover), Program[int | str, Lost, HasClock])
assert_type(read_future().tap(again), Program[int, Late | Lost, HasClock])
assert_type(read_io_result().bind(lambda name: succeed(len(name))), Program[int, Lost, HasName])

assert_type(gather(succeed(1), read_io()), Program[tuple[int, str], Never, HasName])
assert_type(gather(read_future(), read_io_of_clock(), again(1)), Program[tuple[int, int, str], Late | Lost, HasClock])
assert_type(gather(*[read_io(), read_io()]), Program[tuple[str, ...], Never, HasName])
assert_type(race(sleep("1s"), read_io()), Program[None | str, Never, HasName])
assert_type(race(read_future(), again(1)), Program[int | str, Late | Lost, HasClock])
assert_type(traverse([1, 2], again), Program[tuple[str, ...], Lost, HasClock])
assert_type(bracket(read_future(), again, lambda _: succeed(None)), Program[str, Late | Lost, HasClock])
assert_type(when(True, again(1)), Program[None, Lost, HasClock])


def parse(text: str) -> Result[int, Late]:
    raise NotImplementedError


def named(services: HasName) -> str:
    return services.name


assert_type(lift(parse("1")), Program[int, Late, object])
assert_type(asks(named), Program[str, Never, HasName])
assert_type(as_program(parse("1")), Program[int, Late, object])
assert_type(as_program(again(1)), Program[str, Lost, HasClock])


class Ask(Instruction[str, Late]): ...


assert_type(perform(Ask()), Program[str, Late, object])
assert_type(sandbox(again(1)), Program[Exit[str, Lost], Never, HasClock])


async def run(services: Both) -> None:
    exit_ = await run_async(work(1), services)
    assert_type(exit_, Success[str] | Failure[Late | Lost] | Halted | Raised)
    assert_type(run_sync(work(1), services), Success[str] | Failure[Late | Lost] | Halted | Raised)
    assert_type(work(1)(services), FutureResult[str, Late | Lost])
    assert_type(work(1).provide(services), Program[str, Late | Lost, object])
    match exit_:
        case Success() | Failure() | Halted() | Raised():
            pass
        case _:
            assert_never(exit_)


@program
def narrow() -> Do[int]:
    return (yield from succeed(1))


@program
def typed_error() -> Do[int, Late]:
    return (yield from fail(Late()))


assert_type(narrow(), Program[int, Never, object])
assert_type(typed_error(), Program[int, Late, object])

factory: Callable[[int], Program[str, Late | Lost, Both]] = work
