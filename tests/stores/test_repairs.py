"""What waits for an operator is listed and repaired on each store, by a client, over HTTP and on the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.request import Request, urlopen

import orjson
import pytest
from attrs import define, frozen
from engine_thread import engine_served
from postgres_harness import EMPTY_SCHEMA
from returns.result import Failure, Result, Success

from perdure import App, Backoff, Do, Retry, Signal, Workflow, WorkflowContext, effect, program
from perdure.cli.commands import run_command
from perdure.remote import connect_sync
from perdure.wire.records import data_of

Surface: TypeAlias = Literal["client", "http", "cli"]
Out: TypeAlias = pytest.CaptureFixture[str]


# ---------------------------------------------------------------- the jobs
@define
class Desk:
    """An external system, which works or raises."""

    works: bool = True


@effect
def work(desk: Desk) -> Result[None, str]:
    """Do the work."""
    return Success(None) if desk.works else Failure(str(1 / 0))


go = Signal("go", int)


@program
def flow(ctx: WorkflowContext[int]) -> Do[int, str, Desk]:
    """Work, and receive two signals."""
    yield from work()
    first = yield from go.receive()
    return first + (yield from go.receive())


@program
def other_flow(ctx: WorkflowContext[int]) -> Do[int, str, Desk]:
    """Another program, which cannot follow the journal of the first."""
    number = yield from go.receive()
    yield from work()
    return number


def job(run: Any) -> Any:
    """Return the job with a program."""
    once: Any = Retry(1, Backoff.constant("1 second"))
    return Workflow("j", state=int, run=run, result=int, signals=(go,), keep=None, retry_defects=once)


NOW, DIVERGED = job(flow), job(other_flow)


# ---------------------------------------------------------------- surfaces
@frozen
class Operator:
    """An operator of an engine.

    Attributes:
        url: of the engine.
        surface: how it is called.
        capsys: reads the output of commands.
    """

    url: str
    surface: Surface
    capsys: Out

    def listed(self, status: Literal["parked", "left"]) -> dict[str, Any]:
        """Return the instances with a status, by id."""
        match self.surface:
            case "client":
                with connect_sync(self.url, NOW) as client:
                    rows = [data_of(row) for row in client.run(client.list(status=status)).instances]
            case "http":
                rows = self._http("GET", f"/v1/instances?status={status}")["instances"]
            case _:
                rows = self._cli("list", "--status", status)
        shown = [{**row, **row.get("report", {})} for row in rows]
        return {
            row["address"]["id"] if isinstance(row["address"], dict) else row["address"].rpartition(":")[2]: row
            for row in shown
        }

    def call(self, action: Literal["cancel", "terminate", "resume"], id_: str) -> None:
        """Make a request, which must be accepted."""
        reason = [] if action == "resume" else ["enough"]
        match self.surface:
            case "client":
                with connect_sync(self.url, NOW) as client:
                    client.run(getattr(client.handle(NOW), action)(id_, *reason))
            case "http":
                body = {"cancel": {"reason": "enough"}, "terminate": "enough"}.get(action)
                assert self._http("POST", f"/v1/jobs/workflow/j/instances/{id_}/{action}", body)
            case _:
                given = [] if action == "resume" else ["--yes", "--reason", "enough"]
                assert self._cli(action, f"workflow:j:{id_}", *given)

    def signal(self, id_: str, number: int) -> bool:
        """Send the signal, and return whether it is stored."""
        match self.surface:
            case "client":
                with connect_sync(self.url, NOW) as client:
                    return bool(client.run(client.handle(NOW).signal(id_, go, number)).accepted)
            case "http":
                return bool(self._http("POST", f"/v1/jobs/workflow/j/instances/{id_}/signal.go", number)["accepted"])
            case _:
                return bool(self._cli("signal", f"workflow:j:{id_}", "go", str(number)))

    def _http(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else orjson.dumps(body)
        headers = {"Content-Type": "application/json"}
        with urlopen(Request(self.url + path, data, headers, method=method), timeout=20) as answer:  # noqa: S310
            return orjson.loads(answer.read())

    def _cli(self, *command: str) -> Any:
        self.capsys.readouterr()
        assert run_command([*command, "--server", self.url, "--json"]) == 0, self.capsys.readouterr().err
        return [orjson.loads(line) for line in self.capsys.readouterr().out.splitlines()]


# ---------------------------------------------------------------- the test
@pytest.mark.parametrize("surface", ["client", "http", "cli"])
@pytest.mark.parametrize("store", ["memory", "sqlite", "postgres"])
def test_the_parked_and_the_diverged_are_listed_and_repaired(
    store: str, surface: Surface, tmp_path: Path, capsys: Out
) -> None:
    """Memory ends with its engine, so nothing diverges there in a real process."""
    desk = Desk()
    url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/jobs.db"}.get(store) or EMPTY_SCHEMA.url()

    @contextmanager
    def engine(run: Any) -> Iterator[tuple[Operator, Callable[[str, str], None]]]:
        with engine_served(App(desk).with_jobs(run), url) as served, connect_sync(served, NOW) as client:
            until: Any = client.until
            yield (
                Operator(served, surface, capsys),
                lambda id_, status: client.run(until(NOW, id_, status, timeout="20 s")),
            )

    ids = [] if store == "memory" else ["d1", "d2", "d3"]
    with engine(NOW) as (operator, until), connect_sync(operator.url, NOW) as client:
        for id_ in ids:
            client.run(client.handle(NOW).start(id_, 1, wait_for="completion"))
        desk.works = False
        for id_ in ("p1", "p2", "p3"):
            client.run(client.handle(NOW).start(id_, 1, wait_for="completion"))
        check(operator.listed("parked"), {"p1", "p2", "p3"}, "parked")
        assert operator.signal("p1", 2)
        assert operator.signal("p1", 3)
        operator.call("cancel", "p2")
        operator.call("terminate", "p3")
        desk.works = True
        operator.call("resume", "p1")
        until("p1", "done")
        assert client.run(client.handle(NOW).outcome("p1")).value == 5
        assert client.run(client.handle(NOW).status("p3")).status == "not_found"
    if not ids:
        return
    with engine(DIVERGED) as (operator, until):
        for id_ in ids:
            assert operator.signal(id_, 1)  # its run diverges
            until(id_, "left")
        check(operator.listed("left"), set(ids), "left")
        assert operator.signal("d1", 5)
        operator.call("cancel", "d2")
        operator.call("terminate", "d3")
        check(operator.listed("left"), {"d1", "d2"}, "left")
    with engine(NOW) as (operator, until), connect_sync(operator.url, NOW) as client:
        for id_ in ("d1", "d2"):
            until(id_, "done")
        assert client.run(client.handle(NOW).outcome("d1")).value == 6
        assert type(client.run(client.handle(NOW).outcome("d2"))).__name__ == "WasCancelled"
        assert operator.listed("left") == {}


def check(rows: dict[str, Any], ids: set[str], status: Literal["parked", "left"]) -> None:
    """Each row says why, since when, and how an operator heals it."""
    assert rows.keys() == ids
    for row in rows.values():
        assert row["since"], row
        assert row["heals"].endswith("."), row
        assert row["left"] if status == "left" else row["parked"] == "retries_exhausted", row
