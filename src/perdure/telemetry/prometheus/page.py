"""The exposition: read, rendered, and repeated for a second."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family

from perdure.engine.exposition import Exposition
from perdure.runtime.record import Runtime
from perdure.telemetry.prometheus.engine_reader import EngineReader
from perdure.telemetry.prometheus.families import families
from perdure.telemetry.prometheus.labels import KnownJobs
from perdure.telemetry.prometheus.readings import Readings
from perdure.telemetry.prometheus.tally import Tally

FRESH_MS: Final = 1_000
"""How long a rendered page is repeated, so that many scrapes cost as much as one."""

OPENMETRICS: Final = "application/openmetrics-text"
TEXT: Final = "text/plain"


def preferred(accept: str) -> str:
    """Return the first format of an ``Accept`` header that is known; text if there is none.

    >>> preferred("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2"), preferred("*/*")
    ('application/openmetrics-text', 'text/plain')
    """
    listed = (each.partition(";")[0].strip().lower() for each in accept.split(","))
    return next((each for each in listed if each in {OPENMETRICS, TEXT}), TEXT)


@attrs.define(eq=False)
class EngineCollector:
    """The metrics of one engine, as a registry collects them. Any thread may collect.

    Attributes:
        tally: the counts.
        reader: reads the engine.
        jobs: the served jobs.
    """

    tally: Tally
    reader: EngineReader
    jobs: KnownJobs

    def collect(self) -> Iterator[Family]:
        """Return every metric, with the store as it was last read."""
        return families(self.tally, self.reader.readings(), self.jobs)

    def describe(self) -> Iterator[Family]:
        """Return the names: a registry refuses the second engine that would use them."""
        return families(Tally(), Readings(now_ms=0), KnownJobs({}))


@attrs.define(eq=False)
class MetricsPage:
    """Exposes a registry.

    Attributes:
        runtime: the clock.
        reader: reads the engine before the registry is collected.
        registry: the metrics of the engine, and further ones of the user.
    """

    runtime: Runtime
    reader: EngineReader
    registry: CollectorRegistry
    _rendered: dict[str, tuple[float, Exposition]] = attrs.Factory(dict[str, tuple[float, Exposition]])

    async def expose(self, accept: str) -> Exposition:
        """Return the metrics in the format that a header ``Accept`` prefers, at most a second old."""
        wanted = preferred(accept)
        page = self._fresh(wanted)
        if page is None:
            await self.reader.refresh()
            page = self._fresh(wanted) or self._render(wanted)  # another scrape may have rendered it meanwhile
        return page

    def _fresh(self, wanted: str) -> Exposition | None:
        at_ms, page = self._rendered.get(wanted, (float("-inf"), None))
        return page if self.runtime.monotonic_ms() - at_ms < FRESH_MS else None

    def _render(self, wanted: str) -> Exposition:
        encode, content_type = choose_encoder(wanted)
        page = Exposition(text=encode(self.registry), content_type=content_type)
        self._rendered[wanted] = self.runtime.monotonic_ms(), page
        return page
