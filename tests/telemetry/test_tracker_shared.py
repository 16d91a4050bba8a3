"""Trackers of several engines on one store."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
from fake_endpoint import job

from perdure import App
from perdure.telemetry.tracker import Tracker, TrackerOptions, tracker
from perdure.telemetry.tracker.batches import Response
from perdure.telemetry.tracker.exporter import Post
from perdure.testing.cluster import Cluster, ClusterEngine


@attrs.define
class Received:
    """An endpoint that takes everything.

    Attributes:
        sequences: the numbers of the events, as they arrived.
    """

    sequences: list[int] = attrs.Factory(list[int])

    def tracker(self) -> Tracker:
        return attrs.evolve(tracker("http://fake", compression="gzip"), connect=self.connect)

    @asynccontextmanager
    async def connect(self, _: TrackerOptions) -> AsyncGenerator[Post]:
        yield self.post

    async def post(self, body: bytes) -> Response:
        self.sequences += [event["sequence"] for event in json.loads(gzip.decompress(body))["events"]]
        return Response(200)


def app_of(received: Received | None) -> App[None]:
    app = App(None).with_jobs(job)
    return app if received is None else app.with_sinks(received.tracker())


def sent(cluster: Cluster, engine: ClusterEngine, *ids: str) -> None:
    for id_ in ids:
        cluster.run_on(engine, lambda client, id_=id_: client.handle(job).send(id_, 1))


def logged(cluster: Cluster) -> list[int]:
    return [each.sequence for each in cluster.inspect(lambda store: store.events(0, 1_000))]


def firsts(sequences: list[int]) -> list[int]:
    return list(dict.fromkeys(sequences))


def test_one_tracker_exports_the_events_of_all_engines() -> None:
    """Its own engine tells it of its events; it reads those of others every second."""
    received = Received()
    with Cluster(app_of(None), seed=1) as cluster:
        cluster.open(app_of(received))
        other = cluster.open(app_of(None))
        sent(cluster, other, "a", "b", "c")
        cluster.advance("3 s")
        assert received.sequences == logged(cluster)


@pytest.mark.parametrize("seed", range(5))
def test_trackers_share_their_position(seed: int) -> None:
    """Every event arrives, the first time in order; few arrive twice, and the end of an engine is no gap."""
    received = Received()
    with Cluster(app_of(received), seed=seed) as cluster:
        engines = [cluster.open() for _ in range(3)]
        for number in range(12):
            sent(cluster, engines[number % 3], f"i-{number}")
            cluster.advance("2 s")
        engines[0].crash()
        sent(cluster, engines[1], "last")
        cluster.advance("30 s")
        assert firsts(received.sequences) == logged(cluster)
        assert len(received.sequences) < 2 * len(logged(cluster))
