"""Sinks: what an app reports to while its engine runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol, cast

import attrs

from perdure.engine.exposition import Expose
from perdure.engine.in_flight import InFlight
from perdure.engine.traced import Guarded
from perdure.engine.tracing import Tracing
from perdure.jobs.definition import AnyDefinition
from perdure.runtime.record import LogRecord, Runtime
from perdure.stores.contract import Store
from perdure.values.errors import DefinitionError
from perdure.values.excerpt import MAX_LINE_CHARACTERS, excerpt, fields_in_line, shortened
from perdure.values.limits import Limits
from perdure.values.live_event import AnyEvent

OnEvent = Callable[[AnyEvent], object]
"""Called with every event, in the order of the commits. It must return at once: the engine waits for it."""


@attrs.frozen(kw_only=True)
class SinkLag:
    """How far a sink that exports the log is behind it.

    Attributes:
        events: the number of events that it has not exported.
        oldest_ms: the time of the oldest of these, integer milliseconds UTC; None if the sink has not read it yet.
        problem: why its last attempt failed; empty if it did not.
    """

    __repr__ = fields_in_line

    events: int
    oldest_ms: int | None = None
    problem: str = ""


LagOf = Callable[[], SinkLag]
"""Returns the lag of a sink. It reads memory, not the store."""


@attrs.frozen(kw_only=True)
class EngineView:
    """The engine that a sink watches.

    Attributes:
        store: the open store; a sink reads the log of events from it.
        runtime: the only interface to time, waiting, task creation, ids and logging.
        jobs: the served definitions, by kind and name.
        in_flight: returns the work in progress; none before the engine has started. Any thread may call it.
        limits: the engine's limits.
        lags: returns the lag of each open sink that has one, by its name.
        report: tells every sink of an event that a sink has logged with its position.
    """

    store: Store
    runtime: Runtime
    jobs: Mapping[tuple[str, str], AnyDefinition]
    in_flight: Callable[[], InFlight] = InFlight
    limits: Limits = Limits()
    lags: Callable[[], Mapping[str, SinkLag]] = dict[str, SinkLag]
    report: OnEvent = lambda _: None

    def __repr__(self) -> str:
        return shortened(f"<{type(self).__name__} of {self.store!r}>", MAX_LINE_CHARACTERS)


@attrs.frozen(kw_only=True)
class OpenSink:
    """What an open sink wants to be told.

    Attributes:
        on_event: called with every stored event after its commit, and with every live event; None for none. An
            exception that it raises is logged; it harms neither the engine nor other sinks.
        tracing: traces turns and effects; None for no traces. One sink of an app may have it.
        lag: returns how far the sink is behind the log; None for a sink that does not export the log.
        expose: returns the metrics that the sink counts, for ``/metrics``; None for none. One sink of an app may have
            it.
    """

    on_event: OnEvent | None = None
    tracing: Tracing | None = None
    lag: LagOf | None = None
    expose: Expose | None = None


class EventSink(Protocol):
    """Receives what an engine reports. ``App.with_sinks`` adds it.

    The worlds of the testing kit leave out a sink whose attribute ``reach`` is ``"network"``.
    """

    @property
    def name(self) -> str:
        """The name of the sink in logs; unique in an app."""
        ...

    def open(self, engine: EngineView, /) -> AbstractAsyncContextManager[OpenSink]:
        """Begin to watch an engine before it starts; the end of the context, after the engine has stopped, ends it."""
        ...


@attrs.define
class OpenSinks:
    """Tells open sinks of events.

    Attributes:
        runtime: logs the exceptions of sinks.
        told: for each sink that wants events, its name and its function.
        tracing: traces turns and effects; None if no sink does.
        measured: for each sink that exports the log, its name and the function that returns its lag.
        expose: returns the metrics; None if no sink counts them.
    """

    runtime: Runtime
    told: tuple[tuple[str, OnEvent], ...] = ()
    tracing: Guarded | None = None
    measured: tuple[tuple[str, LagOf], ...] = ()
    expose: Expose | None = None
    _failed: set[str] = attrs.Factory(set[str])

    def add(self, name: str, sink: OpenSink) -> None:
        """Tell a sink from now on.

        Raises:
            DefinitionError: it is not an open sink, two sinks trace, or two expose metrics.
        """
        given = cast("object", sink)
        if not isinstance(given, OpenSink):
            raise DefinitionError(f"sink {name}", given, "a context of an OpenSink, such as OpenSink(on_event=print)")
        if sink.tracing is not None:
            if self.tracing is not None:
                raise DefinitionError(
                    "sinks of the app",
                    f"{self.tracing.name} and {name}",
                    "one that traces, because spans have one parent",
                )
            self.tracing = Guarded(sink.tracing, name, self.runtime)
        if sink.on_event is not None:
            self.told = (*self.told, (name, sink.on_event))
        if sink.lag is not None:
            self.measured = (*self.measured, (name, sink.lag))
        if sink.expose is not None:
            if self.expose is not None:
                raise DefinitionError("sinks of the app", f"a second one: {name}", "one that exposes metrics")
            self.expose = sink.expose

    def lags(self) -> dict[str, SinkLag]:
        """Return the lag of each sink that has one, by its name; the exception of one that raises is its problem."""
        return {name: _lag(lag) for name, lag in self.measured}

    def tell(self, event: AnyEvent) -> None:
        """Tell every sink of an event. A sink that raises is logged, the first time only.

        A cancellation that it raises is an exception of its own: nothing is awaited here.
        """
        for name, on_event in self.told:
            try:
                on_event(event)
            except (Exception, self.runtime.cancelled) as error:  # noqa: BLE001 - a sink must not harm the engine
                if name not in self._failed:
                    self._failed.add(name)
                    fields = {"sink": name, "event": event.type, "error": excerpt(error)}
                    self.runtime.log(LogRecord("error", "sink raised an exception", fields))


def _lag(lag: LagOf) -> SinkLag:
    try:
        return lag()
    except Exception as error:  # noqa: BLE001 - a sink must not harm the metrics of the engine and of other sinks
        return SinkLag(events=0, problem=excerpt(error))
