"""Watching which programs are built, and which of them run: a forgotten ``yield from`` builds one that never does.

Nobody who does not watch pays for it: `node` makes what this module tells it to make, and the interpreter looks twice
only at a program that was built under somebody's eyes.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any, TypeAlias

import attrs

from perdure.programs import container
from perdure.programs.container import Program
from perdure.programs.instructions import Deadline, Gather, Race

AnyProgram: TypeAlias = "Program[Any, Any, Any]"


@attrs.frozen
class SourceLocation:
    """A line of somebody's source."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{Path(self.file).name}:{self.line}"


@attrs.define(eq=False)
class Watch:
    """What was built while it watched, and what was run."""

    _built: list[tuple[AnyProgram, str, int]] = attrs.Factory(list[tuple[AnyProgram, str, int]])
    _begun: set[int] = attrs.Factory(set[int])

    def built(self, program: AnyProgram) -> None:
        """Take note of a program that was just built, and where."""
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - the documented way to one's caller
        while frame is not None and _is_ours(frame.f_code):
            frame = frame.f_back
        if frame is not None:
            self._built.append((program, frame.f_code.co_filename, frame.f_lineno))

    def begun(self, program: AnyProgram) -> None:
        """Take note that a program is being run."""
        self._begun.add(id(program))

    def never_run(self) -> tuple[tuple[AnyProgram, SourceLocation], ...]:
        """Give the programs that were built, but neither run nor made a part of another one; in order."""
        unused = [built for built in self._built if id(built[0]) not in self._begun]
        if not unused:
            return ()
        parts = {id(part) for built in self._built for part in _parts(built[0])}
        return tuple(
            (program, SourceLocation(file, line)) for program, file, line in unused if id(program) not in parts
        )


_WATCH: ContextVar[Watch | None] = ContextVar("perdure.programs.watch", default=None)


@contextmanager
def watching() -> Generator[Watch]:
    """Watch the programs that this thread, or this task, builds and runs inside the block."""
    watch = Watch()
    token = _WATCH.set(watch)
    container.begin_watching(_tell)
    try:
        yield watch
    finally:
        container.end_watching()
        _WATCH.reset(token)


def note_begun(program: AnyProgram) -> None:
    """Tell whoever watches that a program is being run. For the interpreter."""
    watch = _WATCH.get()
    if watch is not None:
        watch.begun(program)


def _tell(program: AnyProgram) -> None:
    watch = _WATCH.get()
    if watch is not None:
        watch.built(program)


_OURS = tuple(str(Path(__file__).parents[1] / name) for name in ("program", "jobs", "kinds"))
_known: dict[CodeType, bool] = {}


def _is_ours(code: CodeType) -> bool:
    """Whether a frame is of the library, and not of whoever used it."""
    known = _known.get(code)
    if known is None:
        known = _known[code] = code.co_filename.startswith(_OURS)
    return known


def _parts(program: AnyProgram) -> Iterator[object]:
    """What a program was made of: what its node holds, and what the functions in it remember."""
    _, first, second = container.node_of(program)
    yield from _programs_in(first)
    yield from _programs_in(second)


def _programs_in(thing: object) -> Iterator[object]:
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
