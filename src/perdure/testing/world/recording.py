"""What a world records: its events in order, and the test's calls.

The `Timeline` keeps the events, and is printed when a test fails. The `Reproduction` keeps the calls in the test on
its world, with the world's configuration, and turns them into a test that repeats them.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from textwrap import indent
from typing import Any, Final, Literal, TypeAlias

import attrs
from returns.result import Result

from perdure.app import App
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.ensured import Ensured
from perdure.jobs.request import Keyword, Request, Terminate
from perdure.runtime.record import DEFAULT_SIZES, Sizes, SpawnedTask
from perdure.testing.world.boundary import Interleaving, Opener, Requests
from perdure.testing.world.clock import START
from perdure.testing.world.errors import WorkerDied
from perdure.testing.world.source_code import SourceRepr, name_of, source_of, written
from perdure.testing.world.trace import (
    EffectCall,
    EffectPerformed,
    RequestAnswered,
    RequestSent,
    TraceDetail,
    TraceEvent,
    TransitionCommitted,
    format_trace,
)
from perdure.values.address import Address
from perdure.values.errors import RequestError
from perdure.values.event import Event
from perdure.values.limits import Limits

Reading: TypeAlias = Literal["status", "get_state", "hold", "release"]
"""A read of an instance, or a change of its job: not a request, but its steps interleave with those of requests."""

RequestOrReading: TypeAlias = tuple[Address, Request | Reading]
"""A request or a read of an instance."""

DeferredRequest: TypeAlias = Callable[[], RequestOrReading]
"""A request of a call that has not reached the engine."""


@attrs.define
class RecordedCall:
    """One call in the test. Its outcome is filled in later, so it is not a value.

    Attributes:
        method: the method that the test called on the world, or on a call in progress.
        arguments: plain values.
        of: the line that started the call in progress, if the method belongs to one.
        asked: the requests that it made, ordered by creation. None: unknown.
        number: numbers the call in progress, if a later line uses it.
    """

    method: str
    arguments: tuple[object, ...] = ()
    of: RecordedCall | None = None
    asked: list[RequestOrReading | DeferredRequest | None] = attrs.Factory(
        list[RequestOrReading | DeferredRequest | None]
    )
    ended: Literal["well", "failed", "died"] = "well"
    number: int | None = None

    @property
    def calls(self) -> list[RequestOrReading]:
        """Return the requests, also those that did not reach the engine. Not those that were not valid."""
        found: list[RequestOrReading] = []
        for asked in self.asked:
            # Building a request that is not valid raises again. It did not reach the engine, and a test need not repeat
            # it.
            with suppress(RequestError):
                found += [] if asked is None else [asked() if callable(asked) else asked]
        return found

    @property
    def is_needed(self) -> bool:
        """Return whether it had an effect. An invalid request did not reach the engine, and a read changes nothing."""
        return bool(self.of or self.arguments or self.calls) or self.method in _WITHOUT_ARGUMENTS

    def source(
        self, handles: Mapping[tuple[str, str], SourceRepr], jobs: Mapping[tuple[str, str], AnyDefinition]
    ) -> SourceRepr:
        """Return the line in a test.

        Args:
            handles: the job handles' code, by kind and name.
            jobs: these jobs' definitions, as far as the app has them.
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
def recording_death(line: RecordedCall) -> Generator[None]:
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
    """Return an argument for a handle's method."""
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


@attrs.frozen(kw_only=True)
class WorldConfig:
    """A world's arguments.

    Attributes:
        services: the services that replace the app's own. None for the app's own.
        seed: determines every random choice.
        store: where the data is stored.
        interleaving: where other tasks may run first.
        requests: how loads and commits reach the store.
        start: the clock's initial time.
    """

    app: App[Any]
    services: object
    seed: int
    store: str | os.PathLike[str] | Opener
    interleaving: Interleaving
    requests: Requests
    start: datetime
    debug: bool = True
    sizes: Sizes = DEFAULT_SIZES

    @property
    def needs_a_folder(self) -> bool:
        """Return whether the data is in a file, so that a reproducing test needs a folder for it."""
        return isinstance(self.store, os.PathLike)

    def source(self) -> SourceRepr:
        """Return the call that makes such a world.

        The app, the services and a function that opens a store are written by the names that modules have for them.
        Services that no module has are constructed, if their class takes no arguments. Otherwise the code contains
        ``app`` or ``services``, for the reader to complete.
        """
        parts = [self._app_and_services(), SourceRepr(f"seed={self.seed}")]
        if isinstance(self.store, os.PathLike):
            parts.append(SourceRepr(f"store=tmp_path / {Path(self.store).name!r}"))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] # of any path
        elif self.store != "memory://":
            found = (
                source_of(self.store)
                if isinstance(self.store, str)
                else name_of(self.store) or SourceRepr("open_store")
            )
            parts.append(attrs.evolve(found, text=f"store={found.text}"))
        if self.interleaving != "turns":
            parts.append(SourceRepr(f"interleaving={self.interleaving!r}"))
        if self.requests != "single":
            parts.append(SourceRepr(f"requests={self.requests!r}"))
        if not self.debug:
            parts.append(SourceRepr("debug=False"))
        if self.start != START:
            at = source_of(self.start)
            clock = frozenset({("perdure.testing", "Clock")})
            parts.append(SourceRepr(f"clock=Clock({at.text})", at.imports | clock))
        imports = frozenset({("perdure.testing", "World")}).union(*(part.imports for part in parts))
        made = SourceRepr(f"World({', '.join(part.text for part in parts)})", imports)
        if self.sizes == DEFAULT_SIZES:
            return made
        sizes = source_of(self.sizes)
        own = frozenset({("perdure.testing.world.world", "with_sizes")})
        return SourceRepr(f"with_sizes({made.text}, {sizes.text})", made.imports | sizes.imports | own)

    def _app_and_services(self) -> SourceRepr:
        app = name_of(self.app)
        if app is not None and self.services is None:
            return app
        services = _services(self.app.services if self.services is None else self.services)
        if app is None and services is not None and (made := self._rebuilt(services)) is not None:
            return made
        app, services = app or SourceRepr("app"), services or SourceRepr("services")
        if self.services is None:
            return app
        return SourceRepr(f"{app.text}, {services.text}", app.imports | services.imports)

    def _rebuilt(self, services: SourceRepr) -> SourceRepr | None:
        """Return the app, built from its definitions' names. None when a definition has no name."""
        jobs = [name_of(job) for job in self.app.served.values()]
        named = [job for job in jobs if job is not None]
        # A test with a part of the jobs would be another app.
        if len(named) < len(jobs):
            return None
        limits = _limits(self.app.limits)
        imports = services.imports.union({("perdure", "App")}, limits.imports, *(job.imports for job in named))
        served = ", ".join(job.text for job in named)
        ensured = [_ensuring(declared) for declared in self.app.ensured.values()]
        text = f"App({services.text}{limits.text}).with_jobs({served}){''.join(each.text for each in ensured)}"
        return SourceRepr(text, imports.union(*(each.imports for each in ensured)))


def _ensuring(declared: Ensured) -> SourceRepr:
    method, arguments = declared.job.handle_call(declared.request)
    job = name_of(declared.job) or SourceRepr("job")
    parts = [source_of_input(argument) for argument in arguments]
    request = f"lambda job: job.{method}({', '.join(part.text for part in parts)})"
    return SourceRepr(
        f".ensuring({job.text}, {declared.address.id!r}, {request})",
        job.imports.union(*(part.imports for part in parts)),
    )


def _services(services: object) -> SourceRepr | None:
    if services is None:
        return SourceRepr("None")
    if (named := name_of(services)) is not None:
        return named
    cls = name_of(type(services))
    if cls is not None and _takes_nothing(type(services)):
        return attrs.evolve(cls, text=f"{cls.text}()")
    return None


def _takes_nothing(cls: type) -> bool:
    from inspect import Parameter, signature  # noqa: PLC0415 - slow to load, and only for a reproduction

    try:
        parameters = signature(cls).parameters.values()
    except (TypeError, ValueError):
        return False
    variadic = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return all(each.default is not Parameter.empty or each.kind in variadic for each in parameters)


def _limits(limits: Limits) -> SourceRepr:
    usual = Limits()
    changed = {
        field.name: getattr(limits, field.name)
        for field in attrs.fields(Limits)
        if field.init and getattr(limits, field.name) != getattr(usual, field.name)
    }
    if not changed:
        return SourceRepr("")
    shown = ", ".join(f"{name}={value!r}" for name, value in changed.items())
    return SourceRepr(f", limits=Limits({shown})", frozenset({("perdure", "Limits")}))


MAX_RECORDED_LINES: Final = 2_000
"""The maximum number of recorded lines; the oldest are dropped first."""

_STIRRING: Final = frozenset({"start", "clear_faults", "shift_wall_clock"})
"""After these methods, tasks can continue at the next settle."""

_QUIET: Final = frozenset({"inject", "crash_after", "cancel_crash"})
"""These methods run no task."""


@attrs.define
class Reproduction:
    """Records the test's calls, in order.

    Attributes:
        caller: returns the task that makes the current call, if one does.
        checks: returns the lines before and after the calls that check laws, if one is violated.
    """

    config: WorldConfig
    caller: Callable[[], SpawnedTask[Any] | None]
    lines: deque[RecordedCall] = attrs.Factory(lambda: deque[RecordedCall](maxlen=MAX_RECORDED_LINES))
    checks: Callable[[], tuple[SourceRepr, SourceRepr]] | None = None
    _made_by: dict[SpawnedTask[Any], tuple[RecordedCall, int]] = attrs.Factory(
        dict[SpawnedTask[Any], tuple[RecordedCall, int]]
    )
    _written: dict[int, tuple[object, DeferredRequest]] = attrs.Factory(dict[int, tuple[object, DeferredRequest]])
    _begun: int = 0

    # ------------------------------------------------------------ recording
    def did(self, method: str, *arguments: object) -> RecordedCall:
        """Record that the test called a world method."""
        line = RecordedCall(method, arguments)
        self.lines.append(line)
        return line

    def did_with(self, begun: RecordedCall, method: str) -> RecordedCall:
        """Record that the test called a method on a call that is in progress."""
        if begun.number is None:
            self._begun += 1
            begun.number = self._begun
        line = RecordedCall(method, of=begun)
        self.lines.append(line)
        return line

    def wrote(self, call: object, asking: DeferredRequest) -> None:
        """Record the request in a call that the test has created and may make later."""
        # With the call itself, so that its id is not used again for another one.
        self._written[id(call)] = call, asking
        if (
            len(self._written) > MAX_RECORDED_LINES
        ):  # most are made at once; those inside a coroutine are never looked up
            del self._written[next(iter(self._written))]

    def is_made_by(self, line: RecordedCall, call: object, task: SpawnedTask[Any]) -> None:
        """Record that this task makes a line's call."""
        _, asking = self._written.pop(id(call), (call, None))
        self._made_by[task] = line, len(line.asked)
        line.asked.append(asking)
        # A task that has ended makes no more calls: without this, the map keeps every task of the test.
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
            # Each inspection settles: most of these lines change nothing, and would hide the others.
            if line.is_needed and (stirred or line.method != "settle"):
                stirred = line.method in _STIRRING or (stirred and line.method in _QUIET)
                yield line

    def _handles(self, lines: list[RecordedCall]) -> tuple[dict[tuple[str, str], SourceRepr], list[SourceRepr]]:
        """Return each job handle's code, and the lines that the reader completes."""
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
    """Return a variable name for a job's handle."""
    made = "".join(letter if letter.isalnum() else "_" for letter in name)
    return made if made.isidentifier() else f"job_{made}"


MAX_KEPT_EVENTS: Final = 2_000
"""The maximum number of kept events; the oldest are dropped first."""

Watcher = Callable[[TraceEvent], object]


@attrs.define
class Timeline:
    """Collects a world's events.

    Attributes:
        now_ms: returns the world's wall clock.
        kept: the newest events, oldest first.
        dropped: how many older events were dropped.
        effects: every performed effect. All are kept.
        events: every committed event in the log. All are kept.
        watchers: called with every event.
    """

    now_ms: Callable[[], int]
    script: Reproduction
    worker: int = 0
    kept: deque[TraceEvent] = attrs.Factory(lambda: deque[TraceEvent](maxlen=MAX_KEPT_EVENTS))
    dropped: int = 0
    effects: list[EffectCall] = attrs.Factory(list[EffectCall])
    events: list[Event] = attrs.Factory(list[Event])
    watchers: list[Watcher] = attrs.Factory(list[Watcher])
    _requests: int = 0

    def note(self, what: TraceDetail) -> None:
        """Add an event."""
        moment = TraceEvent(self.now_ms(), self.worker, what)
        self.dropped += len(self.kept) == MAX_KEPT_EVENTS
        self.kept.append(moment)
        if isinstance(what, EffectPerformed):
            self.effects.append(what.call)
        elif isinstance(what, TransitionCommitted):
            self.events += what.transition.events
        for watcher in self.watchers:
            watcher(moment)

    def wrote(self, call: object, asking: DeferredRequest, /) -> None:
        """Record that the test has created a call."""
        self.script.wrote(call, asking)

    def asked(self, address: Address, request: Request, /) -> int:
        """Record a request to the engine, and return its number."""
        self._requests += 1
        self.script.asked(address, request)
        self.note(RequestSent(self._requests, address, request))
        return self._requests

    def read(self, address: Address, reading: Reading, /) -> None:
        """Record a read of committed data: it is not in the timeline, but a reproduction line."""
        self.script.asked(address, reading)

    def answered(self, number: int, result: Result[Any, Any], /) -> None:
        """Record a request's result."""
        self.note(RequestAnswered(number, result))


def format_timeline(timeline: Timeline, start_ms: int) -> str:
    """Return a timeline's end, one line for each event.

    Args:
        timeline: the timeline.
        start_ms: the instant from which times are counted.
    """
    return format_trace(timeline.kept, timeline.dropped, start_ms)
