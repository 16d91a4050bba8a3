"""The page on scaling, as its reader does it: autoscalers with their queries, and engines from none to four."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import sys
import time
from math import ceil
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml

pytest.importorskip("asyncpg")
from postgres_harness import SharedPostgresHarness
from test_prometheus_server import SECRET, scraping

from perdure import App, Do, ItemContext, Limits, WorkerPool, program
from perdure.programs import sleep
from perdure.server.access import Tokens
from perdure.server.addresses import TcpBind
from perdure.server.serving import serving
from perdure.telemetry.prometheus import prometheus

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "scale-with-the-demand.md").read_text(encoding="utf-8")
MANIFESTS: dict[str, Any] = {
    part["kind"]: part
    for block in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for part in yaml.safe_load_all(block)
}
KEDA: Any = MANIFESTS["ScaledObject"]["spec"]
(TRIGGER,) = KEDA["triggers"]
QUERY: str = TRIGGER["metadata"]["query"]
LEAD_S = 6
ITEMS, WORK_OF_ONE = 60, 8
PATIENCE_S = 150
JOBS = """
import json
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from returns.io import IO

from perdure import App, Do, Limits, Task, TaskContext, effect, program
from perdure.programs import sleep


class Notes:
    def add(self, **fields: Any) -> None:
        with Path("notes").open("a", encoding="utf-8") as file:
            file.write(json.dumps({**fields, "pid": os.getpid(), "at": time.time()}) + "\\n")


@effect
def note(notes: Notes, **fields: Any) -> IO[None]:
    return IO(notes.add(**fields))


@program
def shrink(ctx: TaskContext[int], number: int) -> Do[None, Any, Notes]:
    yield from sleep("400 ms")
    yield from note(what="item", id=ctx.id, delivery=ctx.delivery)
    yield from ctx.set_state(number)


@program
def plan(ctx: TaskContext[int], seconds: int) -> Do[None, Any, Notes]:
    due = (yield from ctx.now) + timedelta(seconds=seconds)
    yield from note(what="planned", due=due.timestamp())
    yield from ctx.set_state(seconds)
    yield from ctx.schedule(at=due)


@program
def remind(ctx: TaskContext[int]) -> Do[None, Any, Notes]:
    yield from note(what="reminded", delivery=ctx.delivery)


thumbnails = Task("thumbnails", state=int, event=int, initial=0, on_event=shrink)
reminders = Task("reminders", state=int, event=int, initial=0, on_event=plan, execute=remind)
app = App(Notes(), limits=Limits(concurrency=4, message_batch=4)).with_jobs(thumbnails, reminders)
"""


@attrs.define(eq=False)
class Replicas:
    """The engines that an autoscaler starts and stops."""

    folder: Path
    store: str
    running: list[asyncio.subprocess.Process] = attrs.Factory(list[asyncio.subprocess.Process])
    started: dict[int, float] = attrs.Factory(dict[int, float])
    numbers: list[int] = attrs.Factory(list[int])
    ended: list[int | None] = attrs.Factory(list[int | None])

    async def scale(self, number: int) -> None:
        """Bring the number of engines to this one, as Kubernetes does: SIGTERM, and no wait."""
        while len(self.running) < number:
            command = [sys.executable, "-m", "perdure", "run", "scaled:app", "--store", self.store]
            began = time.time()
            engine = await asyncio.create_subprocess_exec(
                *command, cwd=self.folder, env={**os.environ, "PYTHONPATH": str(self.folder)}
            )
            self.started[engine.pid] = began
            self.running.append(engine)
        stopped = [self.running.pop() for _ in range(len(self.running) - number)]
        for engine in stopped:
            engine.send_signal(signal.SIGTERM)
        self.numbers.append(len(self.running))
        self.ended += await asyncio.gather(*(engine.wait() for engine in stopped))


def notes(folder: Path) -> list[dict[str, Any]]:
    noted = folder / "notes"
    return [json.loads(line) for line in noted.read_text().splitlines()] if noted.exists() else []


def test_engines_scale_from_none_to_four_and_back_and_no_run_is_cut(postgres_url: str, tmp_path: Path) -> None:
    (tmp_path / "scaled.py").write_text(JOBS)
    harness = SharedPostgresHarness(postgres_url)
    query = QUERY.replace("30 s", f"{LEAD_S} s")
    assert query != QUERY
    replicas = Replicas(tmp_path, harness.url)

    async def polled() -> None:
        idle, deadline = 0, time.time() + PATIENCE_S
        while not any(note["what"] == "reminded" for note in notes(tmp_path)) or replicas.running:
            assert time.time() < deadline, (replicas.numbers, notes(tmp_path))
            work: int = await harness.value(query)
            wanted = min(KEDA["maxReplicaCount"], ceil(work / WORK_OF_ONE))
            idle = idle + 1 if wanted == 0 else 0
            now = len(replicas.running)
            await replicas.scale(max(wanted, now) if wanted else KEDA["minReplicaCount"] if idle > 1 else now)
            await asyncio.wait({asyncio.get_running_loop().create_future()}, timeout=0.3)

    async def main() -> None:
        await (await harness.open()).close()  # the tables
        send = "SELECT perdure.send('task', $1, $2, 'send', $3)"
        await harness.value(send, "reminders", "r", "25")
        for number in range(ITEMS):
            await harness.value(send, "thumbnails", str(number), str(number))
        try:
            await polled()
        finally:
            await replicas.scale(0)
            await harness.discard()

    asyncio.run(main())
    items = [note for note in notes(tmp_path) if note["what"] == "item"]
    assert sorted(int(note["id"]) for note in items) == list(range(ITEMS))
    assert {note["delivery"] for note in items} == {1}
    assert max(replicas.numbers) == KEDA["maxReplicaCount"]
    first_zero = replicas.numbers.index(0)
    assert max(replicas.numbers[first_zero:]) > 0
    assert replicas.numbers[-1] == 0
    assert set(replicas.ended) == {0}
    (planned,) = (note for note in notes(tmp_path) if note["what"] == "planned")
    (reminded,) = (note for note in notes(tmp_path) if note["what"] == "reminded")
    assert planned["due"] <= reminded["at"]
    assert replicas.started[reminded["pid"]] < planned["due"]
    assert reminded["delivery"] == 1


@program
def shrunk(ctx: ItemContext[int]) -> Do[None]:
    yield from sleep("10 minutes")


thumbnails = WorkerPool("thumbnails", item=int, work=shrunk, workers=1)
archive = WorkerPool("archive", item=int, work=shrunk)


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="PROMETHEUS IS MISSING: apt-get install prometheus")
def test_prometheus_the_database_and_every_engine_tell_an_autoscaler_the_same_number(
    postgres_url: str, tmp_path: Path
) -> None:
    """With two engines, whose metrics are both of the complete store, and with a held job."""
    (rule,) = yaml.safe_load(MANIFESTS["ConfigMap"]["data"]["config.yaml"])["externalRules"]
    harness = SharedPostgresHarness(postgres_url)
    tokens = Tokens.parse(f"scraper read {SECRET}")

    async def main() -> None:
        app = App(None, limits=Limits(shutdown_timeout="100 ms")).with_jobs(thumbnails, archive)
        binds = [TcpBind("127.0.0.1", 0)]
        async with app.with_sinks(prometheus()).open(harness.url) as one:
            # Before the other engine opens: one that runs learns of a hold only after a while.
            await one.handle(archive).hold()
            await one.handle(archive).put("held", 0)
            for number in range(7):
                await one.handle(thumbnails).put(str(number), number)
            async with (
                app.with_sinks(prometheus()).open(harness.url) as other,
                serving(one, binds, tokens=tokens) as (first,),
                serving(other, binds, tokens=tokens) as (second,),
                scraping(tmp_path, *(url.removeprefix("http://") for url in (*first.urls, *second.urls))) as server,
            ):
                await server.reaches(f"count({rule['seriesQuery']}{{work='queued',job_name='thumbnails'}} > 0)", 2)
                await server.reaches(rule["metricsQuery"], 7)
                assert await harness.value(QUERY) == 7
                assert [(await each.demand(within="30 s")).total for each in (one, other)] == [7, 7]
        await harness.discard()

    asyncio.run(main())


def test_the_manifests_scale_the_deployment_of_the_other_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "deploy-on-kubernetes.md").read_text(encoding="utf-8")
    pod = MANIFESTS["HorizontalPodAutoscaler"]["spec"]
    assert f"kind: Deployment\nmetadata:\n  name: {KEDA['scaleTargetRef']['name']}\n" in page
    assert pod["scaleTargetRef"]["name"] == KEDA["scaleTargetRef"]["name"]
    assert (KEDA["minReplicaCount"], pod["minReplicas"]) == (0, 1)
    lead = re.search(r"within => '(\d+) s'", QUERY)
    assert lead is not None
    assert int(lead[1]) > KEDA["pollingInterval"]
    (metric,) = pod["metrics"]
    (rule,) = yaml.safe_load(MANIFESTS["ConfigMap"]["data"]["config.yaml"])["externalRules"]
    assert metric["external"]["metric"]["name"] == rule["name"]["as"]
    assert rule["seriesQuery"] == "perdure_demand"
