"""The reproduction of a world: a test that repeats the calls of the test."""

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
"""The maximum number of recorded lines; the oldest are dropped first."""

_STIRRING: Final = frozenset({"start", "clear_faults", "shift_wall_clock"})
"""After these methods, tasks can continue at the next settle."""

_QUIET: Final = frozenset({"inject", "crash_after", "cancel_crash"})
"""These methods run no task."""


@attrs.define
class Reproduction:
    """Records the calls of the test, in order.

    Attributes:
        config: the configuration of the world.
        caller: returns the task that makes the current call, if one does.
        lines: the recorded calls.
        checks: returns the lines before and after the calls that check laws, if one is violated.
    """

    config: WorldConfig
    caller: Callable[[], SpawnedTask[Any] | None]
    lines: deque[RecordedCall] = attrs.Factory(lambda: deque[RecordedCall](maxlen=KEPT))
    checks: Callable[[], tuple[SourceRepr, SourceRepr]] | None = None
    _made_by: dict[SpawnedTask[Any], tuple[RecordedCall, int]] = attrs.Factory(
        dict[SpawnedTask[Any], tuple[RecordedCall, int]]
    )
    _written: dict[int, tuple[object, Unasked]] = attrs.Factory(dict[int, tuple[object, Unasked]])
    _begun: int = 0

    # ------------------------------------------------------------ recording
    def did(self, method: str, *arguments: object) -> RecordedCall:
        """Record that the test called a method of the world."""
        line = RecordedCall(method, arguments)
        self.lines.append(line)
        return line

    def did_with(self, begun: RecordedCall, method: str) -> RecordedCall:
        """Record that the test called a method of a call that is in progress."""
        if begun.number is None:
            self._begun += 1
            begun.number = self._begun
        line = RecordedCall(method, of=begun)
        self.lines.append(line)
        return line

    def wrote(self, call: object, asking: Unasked) -> None:
        """Record the request of a call that the test has created and may make later."""
        self._written[id(call)] = call, asking
        if len(self._written) > KEPT:  # most are made at once; those inside a coroutine are never looked up
            del self._written[next(iter(self._written))]

    def is_made_by(self, line: RecordedCall, call: object, task: SpawnedTask[Any]) -> None:
        """Record that this task makes the call of a line."""
        _, asking = self._written.pop(id(call), (call, None))
        self._made_by[task] = line, len(line.asked)
        line.asked.append(asking)
        task.add_done_callback(lambda ended: self._made_by.pop(ended, None))

    def asked(self, address: Address, request: Request | Reading) -> None:
        """Record a request to the engine."""
        task = self.caller()
        made_by = None if task is None else self._made_by.get(task)
        if made_by is not None:
            line, place = made_by
            line.asked[place] = address, request

    # ------------------------------------------------------------ as a test
    def as_test(self) -> str:
        """Return a test that repeats the calls. Where no name is known, the reader completes it."""
        lines = list(self._needed())
        made = self.config.source()
        handles, unnamed = self._handles(lines)
        body = [*unnamed, *(line.source(handles, self.config.app.served) for line in lines)]
        checks = None if self.checks is None else self.checks()
        if checks is not None:
            body = [checks[0], *body, checks[1]]
        imports = made.imports.union(*(part.imports for part in body))
        folder = "tmp_path: Path" if self.config.needs_a_folder else ""
        if folder:
            imports |= {("pathlib", "Path")}
        return "\n".join(
            [
                *written(imports),
                "",
                "",
                f"def test_it_does_not_happen_again({folder}) -> None:",
                f"    with {made.text} as world:",
                *(indent(part.text, " " * 8) for part in body or [SourceRepr("pass")]),
            ]
        )

    def _needed(self) -> Iterator[RecordedCall]:
        """Yield the lines that have an effect: a settle without a change since the last one has none."""
        stirred = False
        for line in self.lines:
            if line.is_needed and (stirred or line.method != "settle"):
                stirred = line.method in _STIRRING or (stirred and line.method in _QUIET)
                yield line

    def _handles(self, lines: list[RecordedCall]) -> tuple[dict[tuple[str, str], SourceRepr], list[SourceRepr]]:
        """Return the code of each job's handle, and the lines that the reader completes."""
        used = dict.fromkeys((address.kind, address.name) for line in lines for address, _ in line.calls)
        names = [name for _, name in used]
        handles: dict[tuple[str, str], SourceRepr] = {}
        unnamed: list[SourceRepr] = []
        for kind, name in used:
            job = self.config.app.served.get((kind, name))
            named = None if job is None else name_of(job)
            if named is None:
                handle = variable(name if names.count(name) == 1 else f"{name}_{kind}")
                handles[kind, name] = SourceRepr(handle)
                unnamed.append(SourceRepr(f"{handle} = world.handle(...)  # the definition of {name!r}"))
            else:
                handles[kind, name] = attrs.evolve(named, text=f"world.handle({named.text})")
        return handles, unnamed


def variable(name: str) -> str:
    """Return a variable name for the handle of a job."""
    made = "".join(letter if letter.isalnum() else "_" for letter in name)
    return made if made.isidentifier() else f"job_{made}"
