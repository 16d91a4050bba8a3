"""Watching which programs are built, and which of them run: a forgotten ``yield from`` builds one that never does.

Nobody who does not watch pays for it: `node` makes what this module tells it to make, and the interpreter looks twice
only at a program that was built under somebody's eyes.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from pathlib import Path
from types import FrameType, FunctionType
from typing import Any, Literal, TypeAlias

import attrs

from perdure.programs import container
from perdure.programs.container import Program
from perdure.programs.instructions import Deadline, Gather, Race

AnyProgram: TypeAlias = "Program[Any, Any, Any]"


@attrs.frozen
class SourceLocation:
    """A line of source."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{Path(self.file).name}:{self.line}"

    def in_full(self) -> str:
        """Print it with the whole path, as editors open it."""
        return f"{self.file}:{self.line}"


@attrs.define(eq=False)
class Watch:
    """The programs that one run built and that nothing has run yet.

    A program that is run leaves it at once, with every program that it is made of: so it holds no more than the run
    does.
    """

    _unused: dict[int, tuple[AnyProgram, str, int]] = attrs.Factory(dict[int, "tuple[AnyProgram, str, int]"])

    def built(self, program: AnyProgram) -> None:
        """Take note of a program that was just built, and of the line of the user's code that did."""
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - the documented way to one's caller
        while frame is not None and (origin := _origin(frame.f_code.co_filename)) != "user":
            frame = None if origin == "interpreter" else frame.f_back
        if frame is not None:
            self._unused[id(program)] = (program, frame.f_code.co_filename, frame.f_lineno)

    def begun(self, program: AnyProgram) -> None:
        """Take note that a program is being run, and so that each program in it is used."""
        self._unused.pop(id(program), None)
        if not self._unused:
            return
        parts = [program]
        while parts:
            parts += [part for part in _parts(parts.pop()) if self._unused.pop(id(part), None) is not None]

    def never_run(self) -> tuple[tuple[AnyProgram, SourceLocation], ...]:
        """Return the programs that were built, but neither run nor made a part of another one; in order."""
        parts = {id(part) for program, _, _ in self._unused.values() for part in _parts(program)}
        return tuple(
            (program, SourceLocation(file, line))
            for program, file, line in self._unused.values()
            if id(program) not in parts
        )


_WATCH: ContextVar[Watch | None] = ContextVar("perdure.programs.watch", default=None)


@contextmanager
def watching() -> Generator[Watch]:
    """Watch the programs that this thread, or this task, builds and runs inside the block."""
    watch = Watch()
    token = _WATCH.set(watch)
    begin_watching()
    try:
        yield watch
    finally:
        end_watching()
        _WATCH.reset(token)


def begin_watching() -> None:
    """Let a `Watch` see programs that are built from now on, until `end_watching` was called as often."""
    container.begin_watching(_tell)


def end_watching() -> None:
    """Undo one `begin_watching`."""
    container.end_watching()


@contextmanager
def seen_by(watch: Watch) -> Generator[None]:
    """Let a watch see what is built and run inside the block, which must not wait: other runs have their own."""
    token = _WATCH.set(watch)
    try:
        yield
    finally:
        _WATCH.reset(token)


def note_begun(program: AnyProgram) -> None:
    """Tell the watch, if there is one, that a program is being run. For the interpreter."""
    watch = _WATCH.get()
    if watch is not None:
        watch.begun(program)


def _tell(program: AnyProgram) -> None:
    watch = _WATCH.get()
    if watch is not None:
        watch.built(program)


Origin: TypeAlias = Literal["user", "library", "interpreter"]

_OURS = tuple(str(Path(__file__).parents[1] / name) for name in ("program", "jobs", "kinds"))
_INTERPRETER = str(Path(__file__).with_name("interpreter.py"))


@cache
def _origin(file: str) -> Origin:
    """Whose code a file holds. Below the interpreter there is only what runs programs, and no code that builds one."""
    if file == _INTERPRETER:
        return "interpreter"
    return "library" if file.startswith(_OURS) else "user"


def _parts(program: AnyProgram) -> Iterator[AnyProgram]:
    """What a program was made of: what its node holds, and what the functions in it remember."""
    _, first, second = container.node_of(program)
    yield from _programs_in(first)
    yield from _programs_in(second)


def _programs_in(thing: object) -> Iterator[AnyProgram]:
    match thing:
        case Program():
            yield thing
        case tuple() | list():
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
    except ValueError:  # it is not filled yet
        return None
    return content if isinstance(content, Program | tuple | list) else None  # pyright: ignore[reportUnknownVariableType]
