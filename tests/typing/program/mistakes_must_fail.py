"""The mistakes that the type checkers must refuse, and where. Checked, never run."""

from typing import Protocol, assert_never

from returns.result import Failure, Result, Success

from perdure.programs import Do, Exit, Halted, Program, effect, program, run_sync, succeed


class HasName(Protocol):
    @property
    def name(self) -> str: ...


class Nameless: ...


class Late: ...


class Lost: ...


@effect
def read(services: HasName, scale: int) -> Result[str, Late]:
    return Success(services.name * scale)


@program
def undeclared_error() -> Do[str, Lost, HasName]:
    return (yield from read(1))  # error: mypy, pyright


@program
def undeclared_service() -> Do[str, Late]:
    return (yield from read(1))  # error: mypy, pyright


@program
def wrong_value() -> Do[int, Late, HasName]:
    return (yield from read(1))  # error: mypy, pyright


@program
def wrong_use() -> Do[int, Late, HasName]:
    text = yield from read(1)
    return text + 1  # error: mypy, pyright


@program
def yields_a_program() -> Do[str, Late, HasName]:
    text = yield read(1)
    return text  # error: mypy, pyright


@program
def uses_a_program() -> Do[str, Late, HasName]:
    text = read(1)
    yield from text
    return text.value  # error: mypy, pyright


@program
def yields_a_value() -> Do[int]:
    yield 3  # error: mypy, pyright
    return 3


@program  # error: mypy, pyright
def no_generator() -> int:
    return 3


wrong_argument = read("one")  # error: mypy, pyright
missing_argument = read()  # error: mypy, pyright
wrong_services = run_sync(read(1), Nameless())  # error: mypy, pyright
provided = read(1).provide(Nameless())  # error: mypy, pyright
never_fails: Program[str] = read(1)  # error: mypy, pyright
no_continuation = succeed(1).bind(lambda value: value)  # error: mypy, pyright
bad_duration = succeed(1).timeout(5)  # error: mypy, pyright


def wrong_match(exit_: Exit[int, Late]) -> int:
    match exit_:
        case Success(value):
            return value
        case Failure(error):
            return error  # error: mypy, pyright
        case Halted():
            return 0
        case _:
            assert_never(exit_)  # error: mypy, pyright
