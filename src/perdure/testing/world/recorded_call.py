"""One recorded call of a test on its world, as a line of the reproduction."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Literal, TypeAlias

import attrs

from perdure.app import App
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import Keyword, Request, Terminate
from perdure.testing.world.errors import WorkerDied
from perdure.testing.world.source_repr import SourceRepr, name_of, source_of
from perdure.values.address import Address
from perdure.values.errors import InvalidInput

Reading: TypeAlias = Literal["status", "get_state", "hold", "release"]
"""A read of an instance, or a change of its job: not a request, but its steps interleave with those of requests."""

Asked: TypeAlias = tuple[Address, Request | Reading]
"""A request or a read of an instance."""

Unasked: TypeAlias = Callable[[], Asked]
"""A request of a call that has not reached the engine."""


@attrs.define
class RecordedCall:
    """One call of the test. Its outcome is filled in later, so it is not a value.

    Attributes:
        method: the method of the world, or of a call in progress.
        arguments: plain values.
        of: the line that started the call, if it is a method of one.
        asked: its requests, in the order of their creation; None: unknown.
        ended: how they ended.
        number: the name of the call in progress, if a later line uses it.
    """

    method: str
    arguments: tuple[object, ...] = ()
    of: RecordedCall | None = None
    asked: list[Asked | Unasked | None] = attrs.Factory(list[Asked | Unasked | None])
    ended: Literal["well", "failed", "died"] = "well"
    number: int | None = None

    @property
    def calls(self) -> list[Asked]:
        """Return the requests, also those that did not reach the engine; not those that were not valid."""
        found: list[Asked] = []
        for asked in self.asked:
            with suppress(InvalidInput):
                found += [] if asked is None else [asked() if callable(asked) else asked]
        return found

    @property
    def is_needed(self) -> bool:
        """Return whether it had an effect. An invalid request did not reach the engine, and a read changes nothing."""
        return bool(self.of or self.arguments or self.calls) or self.method in _WITHOUT_ARGUMENTS

    def source(
        self, handles: Mapping[tuple[str, str], SourceRepr], jobs: Mapping[tuple[str, str], AnyDefinition]
    ) -> SourceRepr:
        """Return the line of a test.

        Args:
            handles: the code of the job handles, by kind and name.
            jobs: the definitions of these jobs, as far as the app has them.
        """
        called = [
            _call(handles[address.kind, address.name], jobs.get((address.kind, address.name)), address, request)
            for address, request in self.calls
        ]
        parts = [*map(_argument, self.arguments), *called]
        line = f"{self._target()}.{self._method()}({', '.join(part.text for part in parts)})"
        line = line if self.number is None else f"{self._name()} = {line}"
        return SourceRepr(
            f"with suppress(WorkerDied):\n    {line}" if self.ended == "died" else line,
            frozenset(_OF_A_DEATH if self.ended == "died" else ()).union(*(part.imports for part in parts)),
        )

    def _method(self) -> str:
        return _FAILING.get(self.method, self.method) if self.ended == "failed" else self.method

    def _target(self) -> str:
        return "world" if self.of is None else self.of._name()  # noqa: SLF001 - another of them

    def _name(self) -> str:
        return f"call_{self.number}"


@contextmanager
def dying(line: RecordedCall) -> Generator[None]:
    """Record on a line that the worker died during it, and raise the error again."""
    try:
        yield
    except WorkerDied:
        line.ended = "died"
        raise


_FAILING = {"run": "attempt", "answer": "result"}
"""The methods that return an error, instead of those that raise it."""

_WITHOUT_ARGUMENTS = frozenset(
    {"open", "close", "crash", "take_over_from_stalled", "resume_stalled", "clear_faults", "cancel_crash", "settle"}
)
_OF_A_DEATH = (("contextlib", "suppress"), ("perdure.testing", "WorkerDied"))


def _argument(value: Any) -> SourceRepr:  # an app, a fault, a duration
    return name_of(value) or SourceRepr("another_app") if isinstance(value, App) else source_of(value)  # pyright: ignore[reportUnknownArgumentType] # of any services


def _call(handle: SourceRepr, job: AnyDefinition | None, address: Address, request: Request | Reading) -> SourceRepr:
    if not isinstance(request, Request):
        argument = "" if request in ("hold", "release") else repr(address.id)
        return SourceRepr(f"{handle.text}.{request}({argument})", handle.imports)
    method, inputs = _method_and_inputs(job, request)
    parts = [source_of(address.id), *map(source_of_input, inputs)]
    texts = [part.text for part in parts]
    command = request.command
    if isinstance(command, Terminate) and command.when == "interrupt":
        texts.append("interrupt=True")
    if request.wait_for == "start":
        texts.append("wait_for='start'")
    if request.idempotency_key is not None:
        texts.append(f"idempotency_key={request.idempotency_key!r}")
    imports = handle.imports.union(*(part.imports for part in parts))
    return SourceRepr(f"{handle.text}.{method}({', '.join(texts)})", imports)


def source_of_input(value: object) -> SourceRepr:
    """Return an argument of a method of a handle."""
    if not isinstance(value, Keyword):
        return source_of(value)
    part = source_of(value.value)
    return SourceRepr(f"{value.name}={part.text}", part.imports)


def _method_and_inputs(job: AnyDefinition | None, request: Request) -> tuple[str, tuple[object, ...]]:
    """Return the method that was called, and its arguments after the id."""
    command = request.command
    if isinstance(command, Terminate):
        return request.action, (command.reason,)
    if job is not None and request.action in job.plan.commands:
        return job.handle_call(request)
    return request.action, ()
