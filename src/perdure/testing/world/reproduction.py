"""The script of a world: what the test did, as the lines of a test that does it again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from textwrap import indent
from typing import Any, Final

import attrs

from perdure.jobs.request import Request
from perdure.runtime.record import SpawnedTask
from perdure.testing.world.config import WorldConfig
from perdure.testing.world.recorded_call import Reading, RecordedCall, Unasked
from perdure.testing.world.source_repr import SourceRepr, name_of, written
from perdure.values.address import Address

KEPT: Final = 2_000
"""How many lines a script keeps; the oldest go first."""

_STIRRING: Final = frozenset({"start", "clear_faults", "shift_wall_clock"})
"""After these something goes on as soon as anybody lets it."""

_QUIET: Final = frozenset({"inject", "crash_after", "cancel_crash"})
"""These let nothing go on."""


@attrs.define
class Reproduction:
    """Notes what the test does, in order.

    Attributes:
        setting: what the world was made of.
        caller: the task that makes the call which is being made, if one does.
        lines: what was done.
    """

    setting: WorldConfig
    caller: Callable[[], SpawnedTask[Any] | None]
    lines: deque[RecordedCall] = attrs.Factory(lambda: deque[RecordedCall](maxlen=KEPT))
    _made_by: dict[SpawnedTask[Any], tuple[RecordedCall, int]] = attrs.Factory(
        dict[SpawnedTask[Any], tuple[RecordedCall, int]]
    )
    _written: dict[int, tuple[object, Unasked]] = attrs.Factory(dict[int, tuple[object, Unasked]])
    _begun: int = 0

    # ------------------------------------------------------------ what is done
    def did(self, method: str, *arguments: object) -> RecordedCall:
        """Note that the test used a method of the world."""
        line = RecordedCall(method, arguments)
        self.lines.append(line)
        return line

    def did_with(self, begun: RecordedCall, method: str) -> RecordedCall:
        """Note that it used a method of a call that it had begun before."""
        if begun.number is None:
            self._begun += 1
            begun.number = self._begun
        line = RecordedCall(method, of=begun)
        self.lines.append(line)
        return line

    def wrote(self, call: object, asking: Unasked) -> None:
        """Know what a call asks for that the test has written, and may make some time."""
        self._written[id(call)] = call, asking
        if len(self._written) > KEPT:  # most are made at once; those of a coroutine are never asked for
            del self._written[next(iter(self._written))]

    def is_made_by(self, line: RecordedCall, call: object, task: SpawnedTask[Any]) -> None:
        """Know that the call of a line is made by this task."""
        _, asking = self._written.pop(id(call), (call, None))
        self._made_by[task] = line, len(line.asked)
        line.asked.append(asking)
        task.add_done_callback(lambda ended: self._made_by.pop(ended, None))

    def asked(self, address: Address, request: Request | Reading) -> None:
        """Note that something was asked of the engine."""
        task = self.caller()
        made_by = None if task is None else self._made_by.get(task)
        if made_by is not None:
            line, place = made_by
            line.asked[place] = address, request

    # ------------------------------------------------------------ as a test
    def as_test(self) -> str:
        """Write a test that does it again. Where a name cannot be known, the reader fills it in."""
        lines = list(self._needed())
        made = self.setting.spelled()
        handles, unnamed = self._handles(lines)
        body = [line.spelled(handles, self.setting.app.served) for line in lines]
        imports = made.imports.union(*(part.imports for part in body))
        folder = "tmp_path: Path" if self.setting.needs_a_folder else ""
        if folder:
            imports |= {("pathlib", "Path")}
        return "\n".join(
            [
                *written(imports),
                "",
                "",
                f"def test_it_does_not_happen_again({folder}) -> None:",
                f"    with {made.text} as world:",
                *(indent(part.text, " " * 8) for part in (*unnamed, *body) or (SourceRepr("pass"),)),
            ]
        )

    def _needed(self) -> Iterator[RecordedCall]:
        """The lines without those that do nothing: to settle when nothing has been stirred since the last time."""
        stirred = False
        for line in self.lines:
            if line.is_needed and (stirred or line.method != "settle"):
                stirred = line.method in _STIRRING or (stirred and line.method in _QUIET)
                yield line

    def _handles(self, lines: list[RecordedCall]) -> tuple[dict[tuple[str, str], SourceRepr], list[SourceRepr]]:
        """How the handle of each job is written, and the lines that the reader completes."""
        used = dict.fromkeys((address.kind, address.name) for line in lines for address, _ in line.calls)
        names = [name for _, name in used]
        handles: dict[tuple[str, str], SourceRepr] = {}
        unnamed: list[SourceRepr] = []
        for kind, name in used:
            job = self.setting.app.served.get((kind, name))
            named = None if job is None else name_of(job)
            if named is None:
                handle = variable(name if names.count(name) == 1 else f"{name}_{kind}")
                handles[kind, name] = SourceRepr(handle)
                unnamed.append(SourceRepr(f"{handle} = world.handle(...)  # the definition of {name!r}"))
            else:
                handles[kind, name] = attrs.evolve(named, text=f"world.handle({named.text})")
        return handles, unnamed


def variable(name: str) -> str:
    """A name for the handle of a job."""
    made = "".join(letter if letter.isalnum() else "_" for letter in name)
    return made if made.isidentifier() else f"job_{made}"
