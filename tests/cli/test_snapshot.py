"""``perdure snapshot``: rows of a real store in a file that a test can be given."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import pytest
from attrs import field, frozen

from perdure import App, Debounce, DebounceContext, Program, Secret, Task, TaskContext, fail
from perdure.cli.commands import run_command
from perdure.stores.snapshots import read_snapshots
from perdure.testing import check_migrations
from perdure.values.instance import Instance

JOBS = "sqlite:///{}/jobs.db"


@frozen
class Person:
    name: str
    emails: tuple[str, ...] = ()
    born: int = 2000


@frozen
class NotAPerson:
    name: str
    why: str = "secret"


def greet(ctx: TaskContext[Person], event: str) -> Program[None]:
    return ctx.set_state(Person(event, (f"{event}@example.com",))).bind(lambda _: ctx.schedule(after="1 hour"))


def refuse(ctx: TaskContext[Person]) -> Program[Any, NotAPerson]:
    return ctx.state.bind(lambda person: fail(NotAPerson(person.name)))


def flush(ctx: DebounceContext[Person]) -> Program[Any, NotAPerson]:
    return ctx.state.bind(lambda person: fail(NotAPerson(person.name)))


people = Task("people", state=Person, event=str, initial=Person(""), on_event=greet, execute=refuse, errors=NotAPerson)
batches = Debounce("batches", event=Person, flush_after="1 hour", execute=flush, errors=NotAPerson)


@pytest.fixture
def store(tmp_path: Path) -> str:
    url = JOBS.format(tmp_path)

    async def write() -> None:
        async with App(None).with_jobs(people, batches).open(url) as jobs:
            for at in range(5):
                await jobs.handle(people).send(f"person-{at}", f"ann-{at}")
            await jobs.handle(people).trigger("person-0")
            await jobs.handle(batches).add("batch", Person("bob"))
            await jobs.handle(batches).flush("batch")

    asyncio.run(write())
    return url


def rows(path: Path) -> tuple[Instance, ...]:
    return read_snapshots(path.read_bytes(), what=str(path))


def test_some_rows_of_every_sort_without_personal_data(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "rows.json"
    options = ("--each", "2", "--redact", "name", "--redact", "emails")
    assert run_command(["snapshot", "--store", store, "--output", str(output), *options]) == 0
    assert capsys.readouterr().out == f"{output}: 4 rows\n"
    found = rows(output)
    assert [(row.address.name, row.address.id, row.status) for row in found] == [
        ("people", "1", "parked"),
        ("people", "2", "scheduled"),
        ("people", "3", "scheduled"),
        ("batches", "4", "parked"),
    ]
    text = output.read_text()
    for secret in ("ann", "person-", "bob", "example.com", "raise", "0198"):
        assert secret not in text
    assert found[0].state == '{"name":"xxxxx","emails":["xxxxxxxxxxxxxxxxx"],"born":2000}'
    assert found[0].last_error is not None
    assert found[0].last_error.data == '{"name":"xxxxx","why":"secret"}'
    assert '\\"name\\":\\"xxx\\"' in found[3].data
    check_migrations(people, snapshots=[output])
    check_migrations(batches, snapshots=[output])


def test_rows_of_chosen_jobs_as_they_are(store: str, tmp_path: Path) -> None:
    output = tmp_path / "rows.json"
    assert run_command(["snapshot", "--store", store, "--output", str(output), "--job", "task:people"]) == 0
    assert {row.address.name for row in rows(output)} == {"people"}
    assert rows(output)[1].state == '{"name":"ann-1","emails":["ann-1@example.com"],"born":2000}'


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--job", "task:unknown"), "contains no instance of task:unknown"),
        (("--each", "0"), "--each 0"),
        (("--output", "."), "cannot be written"),
    ],
)
def test_an_output_that_cannot_be_written_is_reported(
    store: str, tmp_path: Path, options: tuple[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ("--output", str(tmp_path / "rows.json")) if options[0] != "--output" else ()
    assert run_command(["snapshot", "--store", store, *output, *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "rows.json").exists()


def test_a_file_that_is_there_is_left_alone(store: str, tmp_path: Path) -> None:
    output = tmp_path / "rows.json"
    output.write_text("mine")
    assert run_command(["snapshot", "--store", store, "--output", str(output)]) == 2
    assert output.read_text() == "mine"


NUMBER = UUID(int=7421)


@frozen
class Account:
    name: str = "shown"
    token: Annotated[UUID, Secret] = NUMBER
    pins: Annotated[dict[str, int], Secret] = field(factory=dict)


def keep(ctx: TaskContext[Account], event: Account) -> Program[None]:
    return ctx.set_state(event)


def end(ctx: TaskContext[Account]) -> Program[None]:
    return ctx.terminate("done")


accounts = Task("accounts", state=Account, event=Account, initial=Account(), on_event=keep, execute=end)
secretive = App(None).with_jobs(accounts)


def test_an_app_says_which_values_are_secret(tmp_path: Path) -> None:
    """The values that replace secrets have the type of the field, so that new code can read the rows."""
    url, output = JOBS.format(tmp_path), tmp_path / "rows.json"

    async def write() -> None:
        async with secretive.open(url) as jobs:
            await jobs.handle(accounts).send("a", Account(pins={"7421": 7421}))

    asyncio.run(write())
    app = f"{__name__}:secretive"
    assert run_command(["snapshot", "--store", url, "--output", str(output), "--app", app]) == 0
    assert "7421" not in output.read_text()
    (row,) = rows(output)
    assert accounts.plan.state.decode(row.state.encode()).name == "shown"
