"""Filters by attributes: commands on a file at rest and on an engine, HTTP, and clients in other processes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import attrs
import pytest
from operated import json_of, serving
from returns.result import Success

from perdure import App, Client, Decision, Task, attribute
from perdure.cli.commands import run_command
from perdure.remote import connect
from perdure.values.errors import InvalidArgument, UnknownJob
from perdure.values.listings import MatchCount

Out = pytest.CaptureFixture[str]


@attrs.frozen
class Order:
    tenant: str = ""
    cents: int = 0


@attribute
def tenant(order: Order) -> str | None:
    return order.tenant or None


@attribute
def cents(order: Order) -> int:
    if order.cents < 0:
        raise ValueError(order.cents)
    return order.cents


@attribute
def is_large(order: Order) -> bool:
    return order.cents > 100


ORDERS = Task(
    "orders",
    state=Order,
    event=Order,
    initial=Order(),
    decide=lambda _, event: Success(Decision(event)),
    attributes=(tenant, cents, is_large),
)
APP = App(None).with_jobs(ORDERS)
MADE = [("a", Order("acme", 50)), ("b", Order("acme & co", 500)), ("c", Order("acme", 700)), ("d", Order("", 101))]


async def until_whole(jobs: Client) -> None:
    while not (await jobs.handle(ORDERS).count_matching(where=[tenant >= "", cents >= 0, is_large])).complete:  # noqa: ASYNC110 - of another task
        await asyncio.sleep(0.01)


async def make(url: str) -> None:
    async with APP.open(url) as jobs:
        for id_, order in MADE:
            await jobs.handle(ORDERS).send(id_, order)
        await until_whole(jobs)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("attributes") / "jobs.db"
    asyncio.run(make(f"sqlite:///{path}"))
    return path


@pytest.fixture(scope="module")
def places(path: Path) -> Iterator[dict[str, list[str]]]:
    with serving(path, APP) as named:
        yield named


FILTERS: dict[tuple[str, ...], list[str]] = {
    ("tenant=acme",): ["a", "c"],
    ("tenant=acme & co",): ["b"],
    ("tenant=acme", "cents>=100"): ["c"],
    ("is_large",): ["b", "c", "d"],
    ("is_large=false",): ["a"],
    ("cents>50", "cents<=500"): ["b", "d"],
}


def options(where: tuple[str, ...]) -> list[str]:
    return ["--job", "task:orders", *(part for one in where for part in ("--where", one))]


@pytest.mark.parametrize("where", FILTERS, ids=" ".join)
def test_the_commands_of_a_file_at_rest_filter_by_attributes(path: Path, capsys: Out, where: tuple[str, ...]) -> None:
    given = ["list", "--store", f"sqlite:///{path}", "--app", f"{__name__}:APP", "--json", *options(where)]
    assert run_command(given) == 0
    assert [each["address"].split(":")[2] for each in json_of(capsys.readouterr().out)] == FILTERS[where]


@pytest.mark.parametrize("way", ["socket", "server"])
@pytest.mark.parametrize("where", FILTERS, ids=" ".join)
def test_the_commands_of_an_engine_filter_by_attributes(
    places: dict[str, list[str]], capsys: Out, where: tuple[str, ...], way: str
) -> None:
    assert run_command(["list", *places[way], "--json", *options(where)]) == 0
    assert [each["address"].split(":")[2] for each in json_of(capsys.readouterr().out)] == FILTERS[where]


def test_a_change_of_many_takes_a_filter(places: dict[str, list[str]], capsys: Out) -> None:
    assert run_command(["pause", *places["server"], "--yes", "--json", *options(("tenant=acme",))]) == 0
    assert [each["address"] for each in json_of(capsys.readouterr().out)] == ["task:orders:a", "task:orders:c"]
    assert run_command(["resume", *places["server"], "--yes", *options(("tenant=acme",))]) == 0


def test_http_filters_by_attributes(places: dict[str, list[str]]) -> None:
    url = places["server"][1]
    with urlopen(f"{url}/v1/instances?kind=task&job=orders&where=tenant%3Dacme&where=cents%3E100") as found:  # noqa: S310 - http
        page = json.load(found)
    assert [each["address"]["id"] for each in page["instances"]] == ["c"]
    with urlopen(f"{url}/v1/jobs/task/orders/count-matching?where=is_large") as found:  # noqa: S310 - as above
        assert json.load(found) == {"number": 3, "complete": True}


def test_a_client_in_another_process_filters_by_attributes(places: dict[str, list[str]]) -> None:
    async def main() -> None:
        async with connect(places["server"][1], ORDERS) as jobs:
            page = await jobs.list(ORDERS, where=[tenant == "acme", is_large])
            assert ([each.address.id for each in page], page.complete) == (["c"], True)
            assert await jobs.handle(ORDERS).count_matching(where=[cents > 100]) == MatchCount(number=3)
            assert await jobs.handle_by_name("task", "orders").count_matching(where=["cents>100"]) == MatchCount(
                number=3
            )
            wrongs: tuple[Any, ...] = (["colour=red"], ["cents>x"], [7])
            for wrong in wrongs:
                with pytest.raises(InvalidArgument):
                    await jobs.list(ORDERS, where=wrong)
                with pytest.raises(InvalidArgument):
                    await jobs.handle(ORDERS).count_matching(where=wrong)
            with pytest.raises(InvalidArgument):
                await jobs.handle(ORDERS).count_matching(where=[])
            with pytest.raises((InvalidArgument, UnknownJob)):
                await jobs.list(where=["cents>100"])

    asyncio.run(main())


@pytest.mark.parametrize("given", [["--where", "cents>1"], ["--job", "task:orders", "--where", "cents"]])
def test_a_filter_that_does_not_fit_is_refused(places: dict[str, list[str]], capsys: Out, given: list[str]) -> None:
    assert run_command(["list", *places["server"], *given]) != 0
    assert "where" in capsys.readouterr().err


def test_instances_that_may_be_missing_are_reported_and_nothing_is_changed(tmp_path: Path, capsys: Out) -> None:
    """One state has no value: a list says so, and a command that would change instances refuses."""

    async def spoil(url: str) -> None:
        await make(url)
        async with APP.open(url) as jobs:
            await jobs.handle(ORDERS).send("e", Order("acme", -1))
            page = await jobs.list(ORDERS, where=[cents >= 0])
            assert ([each.address.id for each in page], page.complete) == (["a", "b", "c", "d"], False)
            assert (await jobs.list(ORDERS, where=[tenant == "acme"])).complete

    path = tmp_path / "jobs.db"
    asyncio.run(spoil(f"sqlite:///{path}"))
    with serving(path, APP) as named:
        assert run_command(["list", *named["server"], *options(("cents>=0",))]) == 0
        assert "some instances may be missing" in capsys.readouterr().err
        assert run_command(["pause", *named["server"], "--yes", *options(("cents>=0",))]) == 2
        assert "some instances may be missing" in capsys.readouterr().err


def test_a_file_at_rest_needs_the_app(tmp_path: Path, capsys: Out) -> None:
    asyncio.run(make(f"sqlite:///{tmp_path}/jobs.db"))
    code: Any = run_command(["list", "--store", f"sqlite:///{tmp_path}/jobs.db", *options(("cents>1",))])
    assert code != 0
    assert "where" in capsys.readouterr().err
