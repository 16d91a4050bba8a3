"""The tracker: exports the event log to an HTTP endpoint in batches, at least once and in order."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final, Literal, get_args

import attrs

from perdure.engine.sinks import EngineView, OpenSink
from perdure.runtime.record import SpawnedTask
from perdure.telemetry.tracker.exporter import Connect, Endpoint, Exporter, Position, Post, Retries, http_post
from perdure.telemetry.tracker.options import (
    MAX_BATCH,
    MAX_BODY_BYTES,
    Compression,
    Selected,
    Start,
    TrackerOptions,
    checked_backoff,
    checked_choice,
    checked_duration,
    checked_headers,
    checked_name,
    checked_number,
    checked_selection,
    checked_text,
    checked_url,
)
from perdure.values.errors import DefinitionError
from perdure.values.retry import Backoff
from perdure.values.times import Duration

__all__ = ["Selected", "Tracker", "TrackerOptions", "tracker"]


BACKOFF: Final = Backoff.exponential("1s", max="1m")
"""The delay of a tracker after a failed request, by default."""


@attrs.frozen
class Tracker:
    """A sink that exports the log. Make one with `tracker`.

    Attributes:
        options: its options.
        connect: opens a connection to the endpoint.
    """

    options: TrackerOptions
    connect: Connect = attrs.field(default=http_post, repr=False)

    @property
    def name(self) -> str:
        """The name that the sink and its position in the store have."""
        return self.options.name

    @property
    def reach(self) -> Literal["network", "process"]:
        """Whether it opens connections. The testing kit's worlds leave such sinks out."""
        return "network" if self.connect is http_post else "process"

    def open(self, engine: EngineView, /) -> AbstractAsyncContextManager[OpenSink]:
        """Export an engine's log until the context's end, then flush it once more.

        Raises:
            DefinitionError: when the context begins: the store has no cursors, the app keeps no history, or the HTTP
                client is not installed.
        """
        return _Opening(self, engine)


@attrs.define
class _Opening(AbstractAsyncContextManager[OpenSink]):
    """An open tracker's context. It is no generator, so that an engine that is dropped awaits nothing."""

    sink: Tracker
    engine: EngineView
    _connection: AbstractAsyncContextManager[Post] = attrs.field(init=False)
    _exporter: Exporter = attrs.field(init=False)
    _task: SpawnedTask[None] = attrs.field(init=False)

    async def __aenter__(self) -> OpenSink:
        options, runtime = self.sink.options, self.engine.runtime
        retries = Retries(name=options.name, runtime=runtime, backoff=options.backoff)
        position = self._position(retries)
        self._connection = self.sink.connect(options)
        post = await self._connection.__aenter__()
        self._exporter = Exporter(
            options=options,
            runtime=runtime,
            retries=retries,
            position=position,
            endpoint=Endpoint(options=options, runtime=runtime, retries=retries, post=post),
        )
        self._task = runtime.spawn(self._exporter.run(), name=f"perdure:sink {options.name}")
        return OpenSink(on_event=self._exporter.tell, lag=self._exporter.lag)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._exporter.close(self._task)
        finally:
            await self._connection.__aexit__(kind, error, traceback)

    def _position(self, retries: Retries) -> Position:
        store = self.engine.store
        if store.cursors is None:
            raise DefinitionError("store of a tracker", store.name, "a store with cursors")
        if not self.engine.limits.keeps_history:
            got = "limits that keep no events"
            raise DefinitionError("tracker", got, "Limits with history_retention and history_events above 0")
        return Position(
            name=self.sink.name,
            runtime=self.engine.runtime,
            retries=retries,
            store=store,
            cursors=store.cursors,
            report=self.engine.report,
        )


def tracker(
    endpoint: str,
    *,
    service_key: str | None = None,
    headers: Mapping[str, str] | None = None,
    service: str = "",
    environment: str = "",
    include: Selected = None,
    start: Start = "beginning",
    batch_size: int = 100,
    max_batch_bytes: int = 256 * 1024,
    flush_interval: Duration = "1s",
    timeout: Duration = "10s",
    backoff: Backoff = BACKOFF,
    compression: Compression = "gzip",
    shutdown_timeout: Duration = "5s",
    name: str = "tracker",
) -> Tracker:
    """Return a sink that posts the stored events to an HTTP endpoint: ``app.with_sinks(tracker("https://..."))``.

    It reads the log behind its own position, which the store keeps, in its own task: no request in the app waits for
    the endpoint. A batch is ``{"events": [...]}``, in log order. Each event has its ``event_id``, ``sequence``,
    ``type``, ``at``, ``address`` and own fields, and ``service``, ``environment`` and ``engine``.

    The position moves after a response 2xx, so each event arrives at least once: an endpoint removes duplicates by
    ``event_id``. A request without a response, and the responses 408, 425, 429 and 5xx, are retried after ``backoff``
    or, if longer, ``retry-after`` (at most an hour). Redirects, and 4xx such as 401 and 404, are logged as errors and
    retried after the longest delay. A batch that is answered 400, 413, 415 or 422 is halved. A single event is skipped
    only if the endpoint accepts one of the next 99 events, and then refuses the single event again: it is logged, and
    reported by an event ``events.dropped``. What retention deletes before it is exported is reported in the same way.

    Args:
        endpoint: an ``http`` or ``https`` URL. A proxy is taken from the usual environment variables.
        service_key: a secret, sent as ``authorization: Bearer <key>``. No log line and no ``repr`` shows it.
        headers: further headers. Their values are treated as secrets, too.
        service: your service's name, for each event.
        environment: the environment's name, such as ``production``, for each event.
        include: the event classes to export, or a function that takes an event. By default all.
        start: where to begin if the store has no position with this name: at the log's ``beginning``, or at the first
            event after ``now``.
        batch_size: at most this many events in a request, 1 to 1,000.
        max_batch_bytes: a body's maximum size before compression, 1 to 16 MiB. An event that is larger is sent
            alone.
        flush_interval: how long an event waits for a batch to fill.
        timeout: a request's limit, with its response.
        backoff: the delay after a failed request, of which a random half is left out. It never gives up.
        compression: ``gzip`` or ``none``.
        shutdown_timeout: how long the last flush may take when the engine has stopped. Events that remain are exported
            by the next engine.
        name: names the sink and its position. Two trackers in one app need two names. A new name begins at ``start``.

    Raises:
        DefinitionError: an option is not valid. The message shows no key.
    """
    checked_choice("start", start, get_args(Start))
    checked_choice("compression", compression, get_args(Compression))
    return Tracker(
        TrackerOptions(
            endpoint=checked_url(endpoint),
            headers=checked_headers(headers, service_key),
            service=checked_text("service", service),
            environment=checked_text("environment", environment),
            select=checked_selection(include),
            start=start,
            batch_size=checked_number("batch_size", batch_size, MAX_BATCH),
            max_batch_bytes=checked_number("max_batch_bytes", max_batch_bytes, MAX_BODY_BYTES),
            flush_interval_ms=checked_duration("flush_interval", flush_interval),
            timeout_ms=checked_duration("timeout", timeout),
            backoff=checked_backoff(backoff),
            compression=compression,
            shutdown_timeout_ms=checked_duration("shutdown_timeout", shutdown_timeout),
            name=checked_name(name),
        )
    )
