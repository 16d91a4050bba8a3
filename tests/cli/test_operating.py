"""The commands for operators on a running engine: through the socket beside its file, and through its server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from operated import INSTANCES, ORDER, json_of, serving, write_store

from perdure.cli.commands import run_command

Out = pytest.CaptureFixture[str]

TARGETS = ["store", "socket", "server"]


@pytest.fixture(scope="module")
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[str]]]:
    """An engine for the tests that only read."""
    path = tmp_path_factory.mktemp("operated") / "jobs.db"
    write_store(path)
    with serving(path) as named:
        yield named


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[list[str]]:
    """The options that name an engine for one test."""
    write_store(tmp_path / "jobs.db")
    with serving(tmp_path / "jobs.db") as named:
        yield named["store"]


@pytest.mark.parametrize("target", TARGETS)
def test_every_reading_command_answers(read_only: dict[str, list[str]], capsys: Out, target: str) -> None:
    named = read_only[target]
    assert run_command(["list", *named, "--json"]) == 0
    served = {"tick", "batch", "order"}
    assert {each["address"]: each["status"] for each in json_of(capsys.readouterr().out)} == {
        str(each.address): each.status if each.address.name in served else "orphaned" for each in INSTANCES
    }
    assert run_command(["list", *named, "--status", "orphaned"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["task:other:o-1", "orphaned"]
    assert run_command(["show", "task:order:p-1", *named]) == 0
    assert capsys.readouterr().out.endswith('{\n  "paid": 1\n}\n')
    assert run_command(["history", str(ORDER), *named, "--json"]) == 0
    assert [each["type"] for each in json_of(capsys.readouterr().out)] == ["job.paused", "job.started"]
    assert run_command(["dead-letters", *named, "--json"]) == 0
    assert len(json_of(capsys.readouterr().out)) == 2
    assert run_command(["jobs", *named]) == 0
    assert "task:order       send, trigger, terminate, pause, resume" in capsys.readouterr().out
    assert run_command(["health", *named]) == 0
    assert capsys.readouterr().out.startswith("ok")


@pytest.mark.parametrize("target", TARGETS)
def test_an_explanation_is_a_readable_difference(read_only: dict[str, list[str]], capsys: Out, target: str) -> None:
    named = read_only[target]
    assert run_command(["explain", "task:order:o-1", "send", '{"paid":4}', *named]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "answer",
        "    type  Sent",
        "    created  false",
        "    status  scheduled",
        "    scheduled_at  2099-12-31T23:59:59+00:00",
        "instance  changed (version 1 to 2)",
        "  ~ state.paid  1 -> 5",
        "  ~ event_count  0 -> 1",
    ]
    assert run_command(["explain", "task:order:o-1", "send", '{"paid":"x"}', *named]) == 3
    assert "$.paid: expected int" in capsys.readouterr().err
    assert run_command(["explain", "task:order:p-1", "send", '{"paid":1}', *named]) == 3
    assert capsys.readouterr().out.startswith("refused: task:order:p-1 is parked")
    assert run_command(["explain", "task:order:new", "send", '{"paid":4}', *named]) == 0
    assert "instance  created" in capsys.readouterr().out
