"""Records which programs are built and which run: a forgotten ``yield from`` builds one that never runs.

Without a watch this costs nothing: `node` makes the class that this module selects, and the interpreter reports only
programs that were built during a watch.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from types import FrameType, FunctionType
from typing import Any, Literal, TypeAlias

import attrs

from perdure.programs.container import WATCH, Program, begin_watching, end_watching, node_of
from perdure.programs.instructions import Deadline, Gather, Race
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
