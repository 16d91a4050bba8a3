"""A real Prometheus server scrapes a live engine with a token, and answers queries; promtool checks names and rules."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx2
import pytest
import yaml
from test_metrics import orders
from world import Outside

from perdure import App
from perdure.server.access import Tokens
from perdure.server.addresses import TcpBind
from perdure.server.serving import serving
from perdure.telemetry.prometheus import prometheus

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="PROMETHEUS IS MISSING: no real server scraped an engine; apt-get install prometheus",
)

ALERTS = Path(__file__).parents[2] / "docs/how-to/prometheus/alerts.yml"
DASHBOARD = ALERTS.with_name("grafana.json")
NEEDS_AN_EVENT = {
    "Alarm lateness",
    "Engines on a shared store",
    "Event loop blocked",
    "Limits with a name",
    "Parked and left",
    "Refused by full queues",
    "Export lag",
    "Events not exported",
}
"""Panels without a series in the test: no alarm fires, for example."""
SECRET = "scraper-".ljust(43, "x")


@attrs.frozen
class Server:
    """A running Prometheus server."""

    http: httpx2.AsyncClient

    async def get(self, path: str, **query: str) -> Any:
        response = await self.http.get(f"/api/v1/{path}", params=query)
        assert response.status_code == 200, response.text
        return response.json()["data"]

    async def value(self, query: str) -> float | None:
        """Return the value of the only series of a query; None while it has none."""
        found = (await self.get("query", query=query))["result"]
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    async def reaches(self, query: str, expected: float) -> None:
        """Query until a scrape has brought the value."""
        await until_equal(lambda: self.value(query), expected)

    async def rules(self) -> dict[str, str]:
        """Return whether each rule was evaluated: ok, unknown or err."""
        groups = (await self.get("rules"))["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}


async def until_equal(read: Callable[[], Awaitable[object]], expected: object) -> None:
    """Read until the value is there. The server reports no progress."""
    async with asyncio.timeout(120):
        while await read() != expected:  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.02)


def panels() -> Iterator[tuple[str, str]]:
    """Yield the queries of the dashboard, for all engines and jobs."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "1m")
            yield panel["title"], query.replace("$instance", ".*").replace("$job_name", ".*")


@asynccontextmanager
async def scraping(folder: Path, *targets: str) -> AsyncGenerator[Server]:
    """Run a server that scrapes targets twice a second."""
    token, settings = folder / "token", folder / "prometheus.yml"
    token.write_text(SECRET)
    scrape = {
        "job_name": "perdure",
        "scrape_interval": "500ms",
        "scrape_timeout": "500ms",
        "authorization": {"credentials_file": str(token)},
        "static_configs": [{"targets": list(targets)}],
    }
    every = {"evaluation_interval": "200ms"}
    settings.write_text(yaml.safe_dump({"global": every, "scrape_configs": [scrape], "rule_files": [str(ALERTS)]}))
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={settings}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
        "--log.format=json",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    port, is_ready, said = 0, False, list[bytes]()
    try:
        async for line in process.stderr:
            said.append(line)
            entry = json.loads(line)
            if entry.get("msg") == "Listening on":
                port = int(entry["address"].rpartition(":")[2])
            is_ready |= entry.get("msg") == "Server is ready to receive web requests."
            if port and is_ready:  # in either order
                break
        assert port, said[-5:]
        draining = asyncio.ensure_future(process.stderr.read())
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            yield Server(http)
        draining.cancel()
    finally:
        process.terminate()
        await process.wait()


def test_prometheus_scrapes_a_live_engine(tmp_path: Path) -> None:
    async def main() -> None:
        app = App(Outside()).with_jobs(orders).with_sinks(prometheus())
        tokens = Tokens.parse(f"scraper read {SECRET}")
        async with (
            app.open(f"sqlite:///{tmp_path}/jobs.db") as jobs,
            serving(jobs, [TcpBind("127.0.0.1", 0)], tokens=tokens) as (engine,),
        ):
            (url,) = engine.urls
            async with scraping(tmp_path, url.removeprefix("http://")) as server:
                await server.reaches("up", 1)
                for number in range(3):
                    await jobs.handle(orders).send(f"o-{number}", "tell hello")
                await jobs.handle(orders).trigger("o-0")
                of_job = 'kind="task",job_name="orders"'
                await server.reaches(f'perdure_requests_total{{{of_job},action="send",outcome="ok"}}', 3)
                await server.reaches(f"sum(perdure_instances{{{of_job}}})", 4)
                await server.reaches(f'perdure_request_duration_seconds_count{{{of_job},action="send"}}', 3)
                assert await server.value("perdure_store_up") == 1
                assert await server.value('perdure_in_flight{work="requests"}') == 0
                assert (await server.value("perdure_store_file_bytes") or 0) > 0
                quantile = "histogram_quantile(0.99, sum by (le) (perdure_commit_duration_seconds_bucket))"
                assert 0 < (await server.value(quantile) or 0) < 300
                (target,) = (await server.get("targets"))["activeTargets"]
                assert (target["health"], target["lastError"]) == ("up", "")
                types = await server.get("targets/metadata", metric="perdure_requests")
                assert [each["type"] for each in types] == ["counter"]
                alerts = re.findall(r"- alert: (\w+)", ALERTS.read_text())
                await until_equal(server.rules, dict.fromkeys(alerts, "ok"))
                assert (await server.get("alerts"))["alerts"] == []
                await server.reaches("count_over_time(perdure_run_duration_seconds_count[1m]) >= bool 2", 1)
                empty = {title for title, query in panels() if not (await server.get("query", query=query))["result"]}
                assert empty == NEEDS_AN_EVENT

    asyncio.run(main())


def test_promtool_finds_nothing_to_correct_in_the_metrics() -> None:
    async def main() -> str:
        async with App(Outside()).with_jobs(orders).with_sinks(prometheus()).open("memory://") as jobs:
            await jobs.handle(orders).send("o-1", "tell hello")
            return await jobs.metrics()

    checked = subprocess.run(
        ["promtool", "check", "metrics"],  # noqa: S607 - on the path
        input=asyncio.run(main()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
