"""Schedules as data from other processes: every command and the remote client know them through their definition."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from attrs import frozen
from operated import json_of
from operated import serving as served
from returns.result import Result, Success

from perdure import App, Decision, Schedules, Task, cron, tell
from perdure.cli.commands import run_command
from perdure.kinds.schedules import ScheduledMessage
from perdure.remote import connect

Out = pytest.CaptureFixture[str]


@frozen
class Make:
    topic: str
    day: datetime | None = None


def note(made: tuple[Make, ...], event: Make) -> Result[Decision[tuple[Make, ...]], str]:
    return Success(Decision((*made, event)))


reports = Task("reports", state=tuple[Make, ...], event=Make, initial=(), decide=note)
table = Schedules("table", targets=(reports,))
APP = App(None).with_jobs(reports, table)
YEARLY = cron("0 3 1 1 *")
PUT = (
    '{"schedule": {"cron": "0 3 1 1 *"}, "target": "task:reports:eu", "action": "send", '
    '"input": {"topic": "all"}, "tick_field": "day"}'
)


def test_commands_and_the_remote_client_operate_schedules(tmp_path: Path, capsys: Out) -> None:
    with served(tmp_path / "jobs.db", APP) as named:

        def run(*arguments: str) -> list[dict[str, Any]]:
            assert run_command([*arguments, *named["server"], "--json"]) == 0, arguments
            return json_of(capsys.readouterr().out)

        (explained,) = run("explain", "schedule:table:s", "put", PUT)
        assert explained["answer"]["created"] is True
        (put,) = run("call", "schedule:table:s", "put", PUT)
        assert (put["created"], put["status"]) == (True, "scheduled")
        (shown,) = run("show", "schedule:table:s", "--state")
        assert shown["state"]["target"] == "task:reports:eu"
        assert run("pause", "schedule:table:s")[0]["answer"]["status"] == "paused"
        assert [row["address"] for row in run("list", "--job", "schedule:table")] == ["schedule:table:s"]
        run("resume", "schedule:table:s")
        span = '{"start": "2020-01-01T00:00:00Z", "end": "2023-01-01T00:00:00Z"}'
        assert run("call", "schedule:table:s", "backfill", span)[0]["fired"] == 3
        page = httpx2.get(f"{named['server'][1]}/dashboard/jobs/schedule/table/instances/s").text
        assert "next firing" in page
        assert "send to task:reports:eu" in page
        refused = ["call", "schedule:table:s", "put", PUT.replace("reports", "others"), *named["server"]]
        assert run_command(refused) == 3
        assert "expected an instance of task:reports" in capsys.readouterr().err
        asyncio.run(_remote(named["server"][1]))
        run("terminate", "schedule:table:s", "--yes")
        assert run("list", "--job", "schedule:table") == []


async def _remote(url: str) -> None:
    async with connect(url, reports, table) as jobs:
        handle = jobs.handle(table)
        message = tell(reports, "us").send(Make("us"))
        changed = await handle.put("s", YEARLY, message, tick_field="day")
        assert not changed.created
        assert await handle.get_state("s") == ScheduledMessage.of(YEARLY, message, tick_field="day")
        start = datetime(2020, 1, 1, tzinfo=UTC)
        end = start + timedelta(days=2)
        assert (await handle.backfill("s", start=start, end=end)).skipped == 1
        assert (await handle.backfill("s", start=start, end=end, again=True)).fired == 1
