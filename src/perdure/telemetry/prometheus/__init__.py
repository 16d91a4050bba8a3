"""Prometheus: counts what an engine does, and exposes it at ``/metrics``.

This module needs no extra: the sink imports the page, which does, when an engine opens it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from math import isfinite
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, cast

import attrs

from perdure.engine.sinks import EngineView, OpenSink
from perdure.runtime.record import SpawnedTask
from perdure.runtime.tasks import ended
from perdure.telemetry.prometheus.metrics import DURATIONS_S, Counting, EngineReader, KnownJobs, Tally
from perdure.values.errors import DefinitionError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from perdure.telemetry.prometheus.page import EngineCollector, MetricsPage

__all__ = ["Prometheus", "prometheus"]


MISSING_EXTRA: Final = "the extra 'prometheus': pip install 'perdure[prometheus]'"

MAX_BUCKETS: Final = 100

REFRESH_MS: Final = 10_000
"""How often the engine is read for a registry of the user, which others may collect without asking the engine."""


@attrs.frozen(kw_only=True)
class Prometheus:
    """A sink that counts for Prometheus. `prometheus` makes it.

    Attributes:
        name: the sink's name in logs.
        registry: receives the metrics. None for one that only ``/metrics`` exposes.
        buckets: the duration buckets' bounds, in seconds.
    """

    name: str = "prometheus"
    registry: CollectorRegistry | None = None
    buckets: Sequence[float] = DURATIONS_S

    @property
    def reach(self) -> Literal["network", "process"]:
        """Whether it reaches out of its engine, as with a registry. The testing kit's worlds leave it out then."""
        return "process" if self.registry is None else "network"

    def open(self, engine: EngineView, /) -> AbstractAsyncContextManager[OpenSink]:
        """Begin to count.

        Raises:
            DefinitionError: when the context begins: the extra ``prometheus`` is not installed, or another engine
                already uses the registry.
        """
        return _Opening(self, engine)


@attrs.define
class _Opening(AbstractAsyncContextManager[OpenSink]):
    """An open sink's context. It is no generator, so that an engine that is dropped awaits nothing."""

    sink: Prometheus
    engine: EngineView
    _reader: EngineReader = attrs.field(init=False)
    _collector: EngineCollector = attrs.field(init=False)
    _page: MetricsPage = attrs.field(init=False)
    _refreshing: SpawnedTask[None] | None = None

    async def __aenter__(self) -> OpenSink:
        try:
            from prometheus_client import CollectorRegistry  # noqa: PLC0415 - of the extra

            from perdure.telemetry.prometheus.page import EngineCollector, MetricsPage  # noqa: PLC0415 - as above
        except ModuleNotFoundError as error:
            raise DefinitionError("prometheus", error, MISSING_EXTRA) from error
        jobs, tally = KnownJobs.of(self.engine.jobs), Tally(self.sink.buckets)
        self._reader = EngineReader(self.engine, self.sink.name)
        registry = self.sink.registry or CollectorRegistry()
        self._collector = EngineCollector(tally, self._reader, jobs)
        try:
            registry.register(self._collector)
        except ValueError as error:
            expected = "a registry for each engine: another one uses these names"
            raise DefinitionError("registry of prometheus", error, expected) from error
        if self.sink.registry is not None:
            self._refreshing = self.engine.runtime.spawn(self._refresh(), name=f"perdure:sink {self.sink.name}")
        self._page = MetricsPage(self.engine.runtime, self._reader, registry)
        return OpenSink(on_event=Counting(jobs, tally).on_event, expose=self._page.expose)

    async def _refresh(self) -> None:
        while True:
            await self._reader.refresh()
            await self.engine.runtime.sleep(REFRESH_MS)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
            await ended(self._refreshing, self.engine.runtime)
        await self._page.close()
        await self._reader.close()
        if self.sink.registry is not None:
            self.sink.registry.unregister(self._collector)


def prometheus(
    *,
    registry: CollectorRegistry | None = None,
    buckets: Sequence[float] | None = None,
    name: str = "prometheus",
) -> Prometheus:
    """Return a sink that counts for Prometheus: ``app.with_sinks(prometheus())``.

    The app's server, or ``perdure serve``, then exposes the metrics at ``/metrics``. No label is an id: jobs and
    actions are those in the app's definitions, any other one is ``other``.

    Args:
        registry: your own registry that also receives the metrics, such as ``prometheus_client.REGISTRY``. ``/metrics``
            then exposes all that it has. If you expose it yourself, store readings are up to 10 seconds old. One engine
            at a time can use a registry.
        buckets: the duration buckets' bounds, in seconds, ascending. By default 17 from 0.5 ms to 5 minutes.
        name: the sink's name.

    Raises:
        DefinitionError: the bounds are not 1 to 100 ascending numbers above 0.
    """
    return Prometheus(name=name, registry=registry, buckets=DURATIONS_S if buckets is None else _checked(buckets))


def _checked(buckets: Sequence[float]) -> tuple[float, ...]:
    given = tuple(cast("Sequence[object]", buckets))
    bounds = tuple(float(each) for each in given if isinstance(each, int | float) and not isinstance(each, bool))
    ascending = all(low < high for low, high in pairwise((0.0, *bounds)))
    if len(bounds) != len(given) or not 1 <= len(bounds) <= MAX_BUCKETS or not ascending or not isfinite(bounds[-1]):
        raise DefinitionError("buckets of prometheus", given, f"1 to {MAX_BUCKETS} ascending numbers above 0")
    return bounds
