"""The interpreter: one loop without input or output, which never recurses.

`watched` is the loop for a program whose run is watched: the watch records each step, and nothing from other runs. It
records which programs are built and which run: a forgotten ``yield from`` builds one that never runs. Without a watch
this costs nothing: `node` makes the class that this module selects. Only programs built during a watch are reported.

`sandbox` runs a program inside another one, to its exit. Interceptors answer that program's instructions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dis import opmap
from functools import cache, partial
from pathlib import Path
from types import FrameType, FunctionType
from typing import Any, Final, Literal, Never, Protocol, TypeAlias, TypeVar, cast

import attrs
from returns.result import Failure, Success

from perdure.programs.container import WATCH, Program, Watched, begin_watching, end_watching, node, node_of
from perdure.programs.instructions import (
    ALT,
    ASK,
    ATTEMPT,
    BIND,
    COMPOSE,
    DO,
    ENSURE,
    FAIL,
    HALT,
    LASH,
    MAP,
    PARALLEL,
    PERFORM,
    PURE,
    RESULT,
    SANDBOX,
    SCOPE,
    Apart,
    Deadline,
    Exit,
    Gather,
    Halted,
    NotAProgram,
    Race,
    Raised,
    Supervision,
    is_closing,
)
from perdure.values.excerpt import fields_in_line

AnyProgram: TypeAlias = "Program[Any, Any, Any]"


@attrs.frozen
class SourceLocation:
    """A source code line."""

    __repr__ = fields_in_line

    file: str
    line: int

    def __str__(self) -> str:
        return f"{Path(self.file).name}:{self.line}"

    def in_full(self) -> str:
        """Return the location with the full path, as editors open it."""
        return f"{self.file}:{self.line}"


@attrs.define(eq=False)
class Watch:
    """The programs that one run built and that have not run.

    A program that runs leaves it at once, with every program in it: so it holds no more programs than the run does.
    """

    _unused: dict[int, tuple[AnyProgram, str, int]] = attrs.Factory(dict[int, "tuple[AnyProgram, str, int]"])

    def built(self, program: AnyProgram) -> None:
        """Record a program that was just built, and the user's code line that built it."""
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - the documented way to one's caller
        while frame is not None and (origin := _origin(frame.f_code.co_filename)) != "user":
            frame = None if origin == "interpreter" else frame.f_back
        if frame is not None:
            self._unused[id(program)] = (program, frame.f_code.co_filename, frame.f_lineno)

    def begun(self, program: AnyProgram) -> None:
        """Record that a program runs, and therefore that each program in it is used."""
        self._unused.pop(id(program), None)
        if not self._unused:
            return
        parts = [program]
        while parts:
            # Parts of a program that runs are used, also those that it never reaches, such as a branch that was not
            # taken.
            parts += [part for part in _parts(parts.pop()) if self._unused.pop(id(part), None) is not None]

    def never_run(self) -> tuple[tuple[AnyProgram, SourceLocation], ...]:
        """Return the programs that were built, but neither run nor put into another program. In order."""
        parts = {id(part) for program, _, _ in self._unused.values() for part in _parts(program)}
        return tuple(
            (program, SourceLocation(file, line))
            for program, file, line in self._unused.values()
            if id(program) not in parts
        )


@contextmanager
def watching() -> Generator[Watch]:
    """Watch the programs that this thread, or this task, builds and runs inside the block."""
    watch = Watch()
    with Watching(watch):
        yield watch


class Watching:
    """Makes a watch record a block's programs. The block must not wait: other runs have their own watch."""

    # A class and no generator: an inspected run enters it for each of its steps.
    __slots__ = ("_token", "_watch")

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def __enter__(self) -> None:
        self._token = WATCH.set(self._watch)
        # Programs report that they were built only while there is a watcher: building one is the most frequent
        # operation.
        begin_watching(self)

    def __exit__(self, *_: object) -> None:
        end_watching(self)
        WATCH.reset(self._token)


def note_begun(program: AnyProgram) -> None:
    """Report to the watch, if there is one, that a program is used although it never runs."""
    watch = WATCH.get()
    if watch is not None:
        watch.begun(program)


Origin: TypeAlias = Literal["user", "library", "interpreter"]

_OURS = tuple(str(Path(__file__).parents[1] / name) for name in ("programs", "jobs", "kinds"))
_INTERPRETER = str(Path(__file__).with_name("interpreter.py"))


@cache
def _origin(file: str) -> Origin:
    """Return where a file's code comes from. Below the interpreter, only code that runs programs is on the stack."""
    if file == _INTERPRETER:
        return "interpreter"
    # Programs that the library builds for the user belong to the line that called it.
    return "library" if file.startswith(_OURS) else "user"


def _parts(program: AnyProgram) -> Iterator[AnyProgram]:
    """Yield a program's parts: its node's contents, and its functions' closures."""
    _, first, second = node_of(program)
    yield from _programs_in(first)
    yield from _programs_in(second)


def _programs_in(thing: object) -> Iterator[AnyProgram]:
    match thing:
        case Program():
            yield thing
        case dict():
            yield from _programs_in(tuple(thing.values()))  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType] - of anything
        case tuple() | list() | set() | frozenset():
            for item in thing:  # pyright: ignore[reportUnknownVariableType] - of anything
                yield from _programs_in(item)  # pyright: ignore[reportUnknownArgumentType]
        case Gather(programs) | Race(programs):
            yield from programs
        case Deadline(program):
            yield program
        case partial():
            yield from _programs_in((thing.func, *thing.args, *thing.keywords.values()))
        case FunctionType():
            for cell in thing.__closure__ or ():
                yield from _programs_in(_content(cell))
        case _:
            return


def _content(cell: Any) -> object:  # a cell has no type of its own
    try:
        content = cell.cell_contents
    except ValueError:  # the cell is empty
        return None
    held = isinstance(content, Program | tuple | list | dict | set | frozenset)
    return content if held else None  # pyright: ignore[reportUnknownVariableType]


class Pass:
    """The type of `PASS`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "PASS"


PASS: Final = Pass()
"""An interceptor's answer to an instruction that it does not handle: the next outer interpreter receives it."""


class Interceptor(Protocol):
    """Answers a program's instructions, at once and without waiting."""

    def answer(self, instruction: object, /) -> object:
        """Answer `instruction`.

        Returns:
            `PASS`: not handled. Otherwise a ``Success``, ``Failure`` or ``Halted``, or any other value, which is a
            success.

        Raises:
            Exception: raised at the instruction inside the program, as a defect that it may catch.
        """
        ...

    def branch(self) -> Interceptor:
        """Return the interceptor for one program that runs concurrently inside this one (`gather`, `race`, `timeout`).

        A mutable interceptor must not return itself here: its branches would run at once.
        """
        ...


@attrs.frozen
class AnswerEverywhere:
    """A function as an interceptor: the same one in every branch."""

    function: Callable[[object], object]

    def answer(self, instruction: object, /) -> object:
        """Call the function."""
        return self.function(instruction)

    def branch(self) -> AnswerEverywhere:
        """Return this interceptor."""
        return self


def as_interceptor(given: Interceptor | Callable[[object], object] | None) -> Interceptor:
    """Convert a `sandbox` argument to an interceptor. None answers nothing."""
    if given is None:
        return AnswerEverywhere(_answer_nothing)
    if callable(given) and not hasattr(given, "answer"):
        return AnswerEverywhere(given)
    return given  # type: ignore[return-value]  # a value with `answer` is an Interceptor, callable or not


def _answer_nothing(_: object) -> object:
    return PASS


A = TypeVar("A")
E = TypeVar("E")
R = TypeVar("R")


def sandbox(
    program: Program[A, E, R], intercept: Interceptor | Callable[[object], object] | None = None
) -> Program[Exit[A, E], Never, R]:
    """Run `program` to its exit and return that as a value: failures, halts and defects included.

    Cancellation, `KeyboardInterrupt` and the like are not exits: they propagate.

    Args:
        program: the program.
        intercept: answers its instructions, before any outer interpreter receives them. See `Interceptor`. A function
            is also called in concurrent branches.
    """
    return node(SANDBOX, program, as_interceptor(intercept))


Loop: TypeAlias = Generator[tuple[Any, Any], Any, Exit[A, E]]
"""A program being interpreted: yields ``(instruction, services)``, receives answers, returns the exit."""


@attrs.frozen
class Fork:
    """The loop's request for `gather`, `race` and `timeout`: a plan, and how to start one of its programs.

    Attributes:
        plan: the programs to run, and which exit decides.
        begin: makes the loop for one program in the plan: same services, its own branch of each interceptor.
    """

    plan: Gather | Race | Deadline | Supervision
    begin: Callable[[Program[Any, Any, Any]], Loop[Any, Any]]


class _Leave(BaseException):
    """Thrown into a do-block that a failure or a halt leaves, so that its `finally` blocks run."""


# The state of the loop: still evaluating `current`, or unwinding with one of four outcomes and its value.
_RUNNING, _SUCCEEDED, _FAILED, _HALTED, _DIED = -1, 0, 1, 2, 3
_EXITS: tuple[Callable[[Any], Any], ...] = (Success, Failure, Halted, Raised)
_EXIT_CLASSES: frozenset[type] = frozenset({Success, Failure, Halted, Raised})

# Frames that only the loop makes, besides BIND to ENSURE and DO: the action when the program above them has ended.
_LEAVE_SCOPE, _LEAVE_SANDBOX, _LEAVING, _FINALIZED, _BROKEN = 100, 101, 102, 103, 104
_FINALIZING = frozenset({_LEAVING, _FINALIZED, _BROKEN})

_Outcome: TypeAlias = tuple[int, Any]


def interpret(  # noqa: C901, PLR0912, PLR0915 - one loop, see the comment inside
    program: Program[A, E, R],
    services: R,
    interceptors: tuple[Interceptor, ...] = (),
    raised: Callable[[Exception], Halted | None] | None = None,
    inside: Generator[Any, Any, Any] | None = None,
) -> Loop[A, E]:
    """Interpret `program` with an explicit stack of frames.

    A failure and a halt leave do-blocks through their `finally` blocks, which may perform instructions. A defect is
    raised inside them, where `except` may catch it. A finalizer's failure replaces the current outcome.

    Args:
        program: the program.
        services: its services.
        interceptors: receive each instruction first, the innermost last in this tuple.
        raised: called with an exception that the program raised outside any `sandbox`, before any finalizer runs. If it
            raises, the program ends there. If it returns a halt, that replaces the exception.
        inside: the do-block that waits for `program`'s value. See `run_inline`.

    Yields:
        An instruction that no interceptor answered, or a `Fork`, with the services in effect there. The driver sends a
        `Result`, a `Halted`, a `Raised` or a raw value. An exception that it throws is raised at the instruction.

    Returns:
        The exit. `Raised` holds any exception, cancellation included: the driver must raise it again when it is not
        an `Exception`.
    """
    # One function on purpose: a step costs less than a function call. The branches are ordered by their frequency in
    # do-blocks. Rare cases are in functions below.
    frames: list[tuple[int, Any]] = [] if inside is None else [(DO, inside)]
    push, pop = frames.append, frames.pop
    scope: Any = services
    current: Any = program
    outcome: int = _RUNNING
    value: Any = None
    payload: Any = inside or program  # the origin of `current`, for the error that names it
    while True:
        try:
            if outcome == _RUNNING:
                # `__class__` and not `isinstance`: this line runs for each step of each program.
                if current.__class__ is not Program:
                    if current.__class__ is not Watched:
                        raise _not_a_program(current, payload)  # noqa: TRY301 - the handler below is the way to unwind
                    watch = WATCH.get()
                    if watch is not None:
                        watch.begun(current)
                tag, first, second = current._inner_value  # noqa: SLF001 - a node is for this loop alone
                if tag <= ENSURE:  # BIND, MAP, LASH, ALT, ATTEMPT, COMPOSE, ENSURE: the inner program first
                    push((tag, second))
                    current = first
                    continue
                if tag == PERFORM:
                    answer: Any = PASS
                    # Nearly all programs have exactly one, the draft: this saves a call for each instruction.
                    if len(interceptors) == 1:
                        answer = interceptors[0].answer(first)
                    elif interceptors:
                        answer = _ask(interceptors, first)
                    if answer is PASS:
                        answer = yield first, scope
                    if answer.__class__ in _EXIT_CLASSES:
                        outcome, value = _read(answer)
                    else:
                        outcome, value = _SUCCEEDED, answer
                elif tag == PURE:
                    outcome, value = _SUCCEEDED, first
                elif tag == DO:
                    # `payload` names the block in the error for a block that yields no program, also if its first value
                    # is wrong.
                    payload = first(*second)
                    try:
                        current = payload.send(None)
                    except StopIteration as stop:
                        outcome, value = _SUCCEEDED, stop.value
                    else:
                        push((DO, payload))
                        continue
                elif tag == FAIL:
                    outcome, value = _FAILED, first
                elif tag == RESULT:
                    outcome, value = _read(first)
                elif tag == ASK:
                    outcome, value = _SUCCEEDED, first(scope)
                elif tag == HALT:
                    outcome, value = _HALTED, first
                elif tag == SCOPE:
                    push((_LEAVE_SCOPE, scope))
                    scope = second(scope)
                    current = first
                    continue
                elif tag == SANDBOX:
                    push((_LEAVE_SANDBOX, interceptors))
                    interceptors = (*interceptors, second)
                    current = first
                    continue
                elif tag == PARALLEL:
                    # A sandbox around the fork catches the defects of its branches as well.
                    outside = None if raised is None or _is_sandboxed(frames) else raised
                    inner = partial(
                        _begin_ordered if _is_ordered(first) else _begin_branch, scope, interceptors, outside
                    )
                    answer = yield Fork(first, inner), scope
                    outcome, value = _read(answer)
                else:
                    raise AssertionError(f"no such tag: {tag}")  # noqa: TRY301 - as above

            # Unwinding with an outcome: the innermost frame decides how to handle it.
            if not frames:
                break
            tag, payload = frames[-1]
            # The frame stays on the stack: each value would otherwise cost a pop and a push.
            if tag == DO and outcome == _SUCCEEDED:
                try:
                    current = payload.send(value)
                except StopIteration as stop:
                    pop()
                    value = stop.value
                except (
                    BaseException
                ):  # a generator that raised is over, whatever the class: nothing is sent to it again
                    pop()
                    raise
                else:
                    outcome = _RUNNING
                continue
            pop()
            if tag == BIND:
                if outcome == _SUCCEEDED:
                    current, outcome = payload(value), _RUNNING
            elif tag == MAP:
                if outcome == _SUCCEEDED:
                    value = payload(value)
            elif tag == DO:
                if outcome == _DIED:
                    # Raised inside, so that `except` in the block may catch it. A failure is no exception, and must not
                    # be caught.
                    current, outcome, value = _raise_inside(frames, payload, value)
                else:
                    current, outcome, value = _leave(frames, payload, (outcome, value), outcome, value)
            elif tag == ATTEMPT:
                if outcome <= _FAILED:
                    outcome, value = _SUCCEEDED, _EXITS[outcome](value)
            elif tag == LASH:
                if outcome == _FAILED:
                    current, outcome = payload(value), _RUNNING
            elif tag == ALT:
                if outcome == _FAILED:
                    value = payload(value)
            elif tag == COMPOSE:
                if outcome <= _FAILED:
                    current, outcome = payload(_EXITS[outcome](value)), _RUNNING
            elif tag == _LEAVE_SCOPE:
                scope = payload
            elif tag == _LEAVING:
                generator, pending = payload
                payload = generator
                current, outcome, value = _leave(frames, generator, pending, outcome, value)
            elif tag == ENSURE:
                # The outcome waits below the finalizer. A finalizer that fails replaces it, as in Python.
                push((_FINALIZED, (outcome, value)))
                current, outcome = payload, _RUNNING
            elif tag == _FINALIZED:
                if outcome == _SUCCEEDED:
                    outcome, value = payload
            elif tag == _LEAVE_SANDBOX:
                interceptors = payload
                if outcome != _DIED or isinstance(value, Exception):  # a cancellation is not an outcome
                    outcome, value = _SUCCEEDED, _EXITS[outcome](value)
            elif tag != _BROKEN:
                raise AssertionError(f"no such frame: {tag}")  # noqa: TRY301 - as above
        except BaseException as exception:
            # No finalizer may perform an instruction now: the driver is gone, and would never answer.
            if is_closing(exception):
                _close(frames)
                raise
            # A defect, or a cancellation.
            outcome, value = _DIED, exception if exception.__class__ is not TypeError else _explained(exception)
            # Before any finalizer runs: a workflow must stop here with all effects in place.
            if raised is not None and isinstance(exception, Exception) and not _is_sandboxed(frames):
                halted = _notify(raised, exception, frames)
                if halted is not None:
                    outcome, value = _HALTED, halted.signal
    # Outside the loop: when the stack is full even this call raises, and no frame may treat that as another outcome.
    exit_: Exit[A, E] = _EXITS[outcome](value)
    return exit_


def _ask(interceptors: Sequence[Interceptor], instruction: object) -> object:
    for interceptor in reversed(interceptors):
        answer = interceptor.answer(instruction)
        if answer is not PASS:
            return answer
    return PASS


def _read(answer: Any) -> _Outcome:
    """Convert an answer to an outcome: the four exits as they are, any other value as a success."""
    kind = answer.__class__  # pyright does not infer `type(...)` of an Any
    if kind not in _EXIT_CLASSES:
        return _SUCCEEDED, answer
    if kind is Success:
        return _SUCCEEDED, answer.unwrap()
    if kind is Failure:
        return _FAILED, answer.failure()
    if kind is Halted:
        return _HALTED, answer.signal
    return _DIED, answer.cause


def _raise_inside(
    frames: list[tuple[int, Any]], generator: Generator[Any, Any, Any], cause: BaseException
) -> tuple[Any, int, Any]:
    """Raise a defect inside a do-block. If the block does not catch it, this call raises it."""
    try:
        current = generator.throw(cause)
    except StopIteration as stop:
        return None, _SUCCEEDED, stop.value
    frames.append((DO, generator))
    return current, _RUNNING, None


def _leave(
    frames: list[tuple[int, Any]],
    generator: Generator[Any, Any, Any],
    pending: _Outcome,
    outcome: int,
    value: Any,
) -> tuple[Any, int, Any]:
    """Continue leaving a do-block: run its `finally` blocks up to the next program in one of them.

    Args:
        frames: the stack.
        generator: the do-block.
        pending: the outcome that leaves it, unless a finalizer replaces it.
        outcome: the last program's outcome in a finalizer (at first: `pending` again).
        value: the `outcome` value.
    """
    try:
        if outcome == _SUCCEEDED:
            current = generator.send(value)
        elif outcome == _DIED:
            current = generator.throw(value)
        else:
            pending = (outcome, value)
            current = generator.throw(_Leave())
    except (StopIteration, _Leave):
        return None, *pending
    except BaseException:
        frames.append((_BROKEN, None))  # so that the exception is known as that of a finalizer
        raise
    # The pending outcome stays with the frame: a `finally` block may perform any number of programs before it ends.
    frames.append((_LEAVING, (generator, pending)))
    return current, _RUNNING, None


def stack_of(loop: Loop[Any, Any]) -> list[tuple[int, Any]]:
    """Return a waiting program's frames, the innermost last: each with its tag and its payload."""
    frame = cast("FrameType | None", getattr(loop, "gi_frame", None))
    return [] if frame is None else cast("list[tuple[int, Any]]", frame.f_locals.get("frames", []))


def is_finalizing(loop: Loop[Any, Any]) -> bool:
    """Return whether a program waits in a finalizer: a `finally` block that it leaves, or an ``ensure`` finalizer."""
    # Workflows ask this before they halt a branch: a compensation must not be given up half-way.
    return any(tag in _FINALIZING for tag, _ in stack_of(loop))


def _close(frames: list[tuple[int, Any]]) -> None:
    """Close the do-blocks, innermost first, when the run is dropped: their `finally` blocks cannot wait."""
    # Innermost first, as Python leaves nested blocks.
    for tag, payload in reversed(frames):
        if tag in {DO, _LEAVING}:
            generator = payload if tag == DO else payload[0]
            with suppress(BaseException):  # as Python does with exceptions of a dropped generator
                generator.close()


def _notify(
    raised: Callable[[Exception], Halted | None], exception: Exception, frames: list[tuple[int, Any]]
) -> Halted | None:
    try:
        return raised(exception)
    except BaseException:
        _close(frames)
        raise


def _is_sandboxed(frames: list[tuple[int, Any]]) -> bool:
    return any(tag == _LEAVE_SANDBOX for tag, _ in frames)


def _begin_branch(
    services: Any,
    interceptors: tuple[Interceptor, ...],
    raised: Callable[[Exception], Halted | None] | None,
    program: Program[Any, Any, Any],
) -> Loop[Any, Any]:
    return interpret(program, services, tuple(interceptor.branch() for interceptor in interceptors), raised)


def _is_ordered(plan: Any) -> bool:
    return plan.__class__ is Supervision and plan.in_order


def _begin_ordered(
    services: Any,
    interceptors: tuple[Interceptor, ...],
    raised: Callable[[Exception], Halted | None] | None,
    program: Program[Any, Any, Any] | Apart,
) -> Loop[Any, Any]:
    if isinstance(program, Apart):
        return _begin_branch(services, interceptors, raised, program.program)
    return interpret(program, services, interceptors, raised)


def _not_a_program(got: object, giver: Any) -> NotAProgram:
    name = getattr(giver, "__qualname__", None) or type(giver).__qualname__
    if type(got) in {Success, Failure}:
        return NotAProgram(got, name, "a Program: wrap the Result with lift(...)")
    return NotAProgram(got, name)


def _explained(error: BaseException) -> BaseException:
    """Explain Python's own error about a ``yield from`` whose operand is neither a program nor an iterable."""
    # Only if the error is of the `yield from` itself: a TypeError of the user's own code keeps its text.
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None or last.tb_frame.f_code.co_code[last.tb_lasti] != _STARTS_YIELD_FROM or _YIELD_FROM in str(error):
        return error
    return TypeError(f"{error}: {_YIELD_FROM}").with_traceback(error.__traceback__)


_STARTS_YIELD_FROM = opmap.get("GET_YIELD_FROM_ITER", -1)  # an instruction of CPython that checks the operand
_YIELD_FROM = (
    "`yield from` in a @program expects a Program; succeed(value) makes one of a value, and an `async def` with "
    "@effect one of an `await`"
)


def watched(loop: Loop[A, E], watch: Watch) -> Loop[A, E]:
    """Drive a loop one step after the other, each step under the watch. Branches as well.

    While a run waits, other runs take steps, so a watch is set for a step, never for a run.
    """
    answer: Any = None
    raised: BaseException | None = None
    watching = Watching(watch)
    while True:
        try:
            # Only around the step: the watch of a waiting run would see the programs of all other runs.
            with watching:
                instruction, services = loop.send(answer) if raised is None else loop.throw(raised)
        except StopIteration as stop:
            exit_: Exit[A, E] = stop.value
            return exit_
        if isinstance(instruction, Fork):
            instruction = attrs.evolve(instruction, begin=partial(_branch, instruction, watch))
        answer, raised = None, None
        try:
            answer = yield instruction, services
        except GeneratorExit:
            loop.close()
            raise
        except BaseException as exception:  # noqa: BLE001 - raised at the instruction, as without a watch
            raised = exception


def _branch(fork: Fork, watch: Watch, program: Program[Any, Any, Any]) -> Loop[Any, Any]:
    return watched(fork.begin(program), watch)
