"""A worker pool on the command line: every command knows it through its definition."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from operated import json_of, serving
from returns.result import Failure, Result, Success

from perdure import App, Backoff, Do, ItemContext, Retry, WorkerPool, effect, program
from perdure.cli.commands import run_command
from perdure.cli.engine import PoolWatch, _rest, fields_of
from perdure.values.listings import JobCount, StoreCounts

Out = pytest.CaptureFixture[str]


@define
class Services:
    """Attributes:
    broken: whether work fails.
    """

    broken: threading.Event = field(factory=threading.Event)


@effect
def count_characters(services: Services, text: str) -> Result[int, str]:
    return Failure("broken") if services.broken.is_set() else Success(len(text))


@program
def count(ctx: ItemContext[str]) -> Do[int, str, Services]:
    text = yield from ctx.item
    return (yield from count_characters(text))


texts = WorkerPool(
    "texts", item=str, work=count, key=lambda text: text[:1], retry=Retry(2, Backoff.constant("1 hour")), keep="1 day"
)
SERVICES = Services()
APP = App(SERVICES).with_jobs(texts)


@pytest.fixture(params=["socket", "server"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[str]]:
    SERVICES.broken.clear()
    with serving(tmp_path / "jobs.db", APP) as named:
        yield named[request.param]


def test_every_command_knows_a_pool(engine: list[str], capsys: Out) -> None:
    def run(*arguments: str) -> list[dict[str, Any]]:
        assert run_command([*arguments, *engine, "--json"]) == 0, arguments
        return json_of(capsys.readouterr().out)

    (explained,) = run("explain", "pool:texts:a", "put", '{"item":"hello"}')
    assert explained["answer"]["created"] is True
    (put,) = run("call", "pool:texts:a", "put", '{"item":"hello","head_start":"1 minute"}')
    assert put == {"type": "ItemPut", "created": True, "status": "queued", "due_at": None}
    assert run("wait", "pool:texts:a", "--until", "done")[0]["status"]["status"] == "done"
    (outcome,) = run("call", "pool:texts:a", "outcome")
    assert (outcome["form"], outcome["result"]) == ("done", "5")
    run("call", "pool:texts:b", "put", '{"item":"later","after":"1 day"}')
    assert [row["address"] for row in run("list", "--status", "done")] == ["pool:texts:a"]
    (shown,) = run("show", "pool:texts:a", "--state")
    assert shown["state"] == "hello"
    (progress,) = run("pool", "pool:texts")
    assert (progress["waiting"], progress["done"], progress["held"]) == (1, 1, False)
    assert [event["type"] for event in run("history", "pool:texts:a")] == ["job.executed", "job.started"]
    SERVICES.broken.set()
    run("call", "pool:texts:c", "put", '{"item":"fails"}')
    run("wait", "pool:texts:c", "--until", "retrying")
    (retried,) = run("retry", "pool:texts:c")
    assert retried["answer"]["queued"] is True
    run("wait", "pool:texts:c", "--until", "parked")
    SERVICES.broken.clear()
    (resumed,) = run("retry", "pool:texts:c")
    assert resumed["action"] == "resume"
    run("wait", "pool:texts:c", "--until", "done")
    assert run_command(["call", "pool:texts:c", "put", '{"item":3}', *engine]) == 3
    assert run_command(["call", "pool:texts:d", "put", '{"item":"a","after":"soon"}', *engine]) == 3
    assert "soon" in capsys.readouterr().err
    assert run_command(["pool", "pool:texts", *engine]) == 0
    assert "waiting" in capsys.readouterr().out
    assert run_command(["pool", "pool:none", *engine]) == 3


def test_the_file_of_a_pool_is_checked_and_verified(tmp_path: Path, capsys: Out) -> None:
    store = ["--store", f"sqlite:///{tmp_path / 'jobs.db'}"]
    with serving(tmp_path / "jobs.db", APP) as named:
        for id_, more in (("a", ""), ("b", ',"after":"1 day"')):
            assert run_command(["call", f"pool:texts:{id_}", "put", f'{{"item":"{id_}"{more}}}', *named["socket"]]) == 0
        assert run_command(["wait", "pool:texts:a", "--until", "done", *named["socket"]]) == 0
    for command in (["verify"], ["check", "test_pool:APP"], ["stats"], ["list"], ["show", "pool:texts:a"]):
        capsys.readouterr()
        assert run_command([*command, *store]) == 0, capsys.readouterr()
    assert "done" in capsys.readouterr().out


def counted(ended: int, **by_status: int) -> JobCount:
    numbers: dict[Any, int] = dict(by_status)
    return JobCount(hold="released", by_status=numbers, ended=ended)


def test_a_pool_says_how_old_its_numbers_are() -> None:
    assert ("counted", "1m5s ago") in fields_of(JobCount(hold="released", by_status={}, age_ms=65_400))
    assert "counted" not in dict(fields_of(JobCount(hold="released", by_status={}, age_ms=900)))


def test_a_watched_pool_yields_each_change_until_nothing_is_left() -> None:
    readings = [counted(10, queued=4, running=1), counted(10, queued=4, running=1), counted(14, queued=6), counted(20)]
    times, slept, shown = iter([0.0, 1.0, 2.0, 4.0]), list[float](), list[tuple[int, int]]()
    source = iter(readings)

    @contextmanager
    def bar(total: int) -> Iterator[Callable[[int, int], None]]:
        shown.append((0, total))
        yield lambda done, of: shown.append((done, of))

    watched = PoolWatch(lambda: next(source), lambda: next(times), slept.append)
    found = [(reading.left, reading.per_second) for reading in watched.lines(bar)]
    assert found == [(5, 0.0), (6, 2.0), (0, 2.5)]
    assert shown == [(0, 5), (0, 5), (0, 6), (6, 6)]
    assert len(slept) == 3


def test_a_job_of_another_kind_is_no_pool(tmp_path: Path, capsys: Out) -> None:
    code = run_command(["pool", "task:orders", "--store", f"sqlite:///{tmp_path / 'jobs.db'}"])
    assert code == 2
    assert "task:orders is not a worker pool: write pool:name" in capsys.readouterr().err


@pytest.mark.parametrize("complete", [True, False])
def test_counts_say_that_they_are_not_complete(*, complete: bool) -> None:
    lines = list(_rest(StoreCounts(complete=complete)))
    assert any("still counting" in line for line in lines) is not complete
