"""Topics from other processes: every command, the dashboard and the remote client know them by their definition."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest
from attrs import frozen
from operated import json_of
from operated import serving as served
from returns.result import Result, Success

from perdure import App, Decision, Task, Topic
from perdure.cli.commands import run_command
from perdure.kinds.topic import SubscriberPage, TopicPublished
from perdure.remote import connect

Out = pytest.CaptureFixture[str]


@frozen
class Price:
    cents: int


def keep(seen: tuple[int, ...], price: Price) -> Result[Decision[tuple[int, ...]], str]:
    return Success(Decision((*seen, price.cents)))


charts = Task("charts", state=tuple[int, ...], event=Price, initial=(), decide=keep)
prices: Topic[Price] = Topic("prices", event=Price, subscribers=(charts,), max_subscribers=2)
APP = App(None).with_jobs(charts, prices)
EUR = "topic:prices:eur"


def test_commands_and_the_remote_client_operate_topics(tmp_path: Path, capsys: Out) -> None:
    with served(tmp_path / "jobs.db", APP) as named:

        def run(*arguments: str) -> list[dict[str, Any]]:
            assert run_command([*arguments, *named["server"], "--json"]) == 0, arguments
            return json_of(capsys.readouterr().out)

        def refused(*arguments: str) -> str:
            assert run_command([*arguments, *named["server"]]) == 3
            return capsys.readouterr().err

        run("send", "task:charts:ann", '{"cents": 0}')
        (explained,) = run("explain", EUR, "subscribe", '{"subscriber": "task:charts:ann"}')
        assert explained["answer"]["created"] is True
        assert run("call", EUR, "subscribe", '{"subscriber": "task:charts:ann"}')[0]["subscribers"] == 1
        assert run("call", EUR, "publish", '{"cents": 85}')[0]["subscribers"] == 1
        assert run("call", EUR, "subscribers")[0]["subscribers"] == ["task:charts:ann"]
        (shown,) = run("show", EUR, "--state")
        assert list(shown["state"]) == ["task:charts:ann"]
        assert [row["address"] for row in run("list", "--job", "topic:prices")] == [EUR]
        page = httpx2.get(f"{named['server'][1]}/dashboard/jobs/topic/prices/instances/eur").text
        assert "first subscribers" in page
        assert "task:charts:ann" in page
        assert "sends to" in httpx2.get(f"{named['server'][1]}/dashboard/jobs/topic/prices").text
        assert "expected an instance of task:charts" in refused("call", EUR, "subscribe", '{"subscriber": "task:x:1"}')
        assert "cents" in refused("call", EUR, "publish", '{"euros": 1}')
        assert "limit from 1 to 1,000" in refused("call", EUR, "subscribers", '{"limit": 0}')
        asyncio.run(_remote(named["server"][1]))
        assert run("call", EUR, "unsubscribe", '{"subscriber": "task:charts:ann"}')[0]["removed"] is True
        run("terminate", EUR, "--yes")
        assert run("list", "--job", "topic:prices") == []


async def _remote(url: str) -> None:
    async with connect(url, charts, prices) as jobs:
        handle = jobs.handle(prices)
        await jobs.handle(charts).send("bob", Price(0))
        assert (await handle.subscribe("eur", charts.address("bob"))).subscribers == 2
        assert await handle.publish("eur", Price(90)) == TopicPublished(subscribers=2, status="idle")
        first = await handle.subscribers("eur", limit=1)
        assert first.next is not None
        assert await handle.subscribers("eur", after=first.next) == SubscriberPage(
            subscribers=("task:charts:bob",), total=2
        )
        with pytest.raises(Exception, match="is full"):
            await handle.subscribe("eur", charts.address("eve"))
        assert (await handle.unsubscribe("eur", charts.address("bob"))).removed
