"""``perdure copy``: a store into another one, there and back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest
from postgres_harness import PostgresHarness, SharedPostgresHarness
from returns.future import FutureResult
from returns.result import Success

from perdure import App, Decision, Do, Published, Signal, Stream, Task, Workflow, WorkflowContext, effect, program
from perdure.cli.commands import run_command
from perdure.stores.contract import Store
from perdure.stores.encryption import Encryption, Key
from perdure.stores.url import open_store
from perdure.values.answer import Done

KILLED = Path(__file__).with_name("copy_until_killed.py")
KEY = Encryption(primary=Key("k1", bytes(range(64))))
COUNT = 12


@attrs.frozen
class Added:
    cents: int


@attrs.frozen
class Sum:
    cents: int = 0


def decide(total: Sum, event: Added) -> Success[Decision[Sum]]:
    return Success(Decision(Sum(total.cents + event.cents)))


SUMS = Task("sums", state=Sum, event=Added, initial=Sum(), decide=decide, execute=lambda ctx: ctx.terminate())


words = Stream("words", str)
more = Signal("more", str)


@program
def talk(_: WorkflowContext[int]) -> Do[str]:
    for number in range(COUNT):
        yield from words.emit(f"secretive{number}")
    return (yield from words.emit((yield from more.receive())).map(lambda _: "done"))


TALKER = Workflow("talker", state=int, run=talk, signals=[more], streams=[words])


reports: list[str] = []


@effect
def report(_: object) -> FutureResult[str, str]:
    reports.append("".join(f"secretive {number}, " for number in range(80_000)))
    return FutureResult.from_value(reports[-1])


@program
def write_report(_: WorkflowContext[int]) -> Do[str, str, object]:
    text = yield from report()
    return (yield from more.receive()) + text


WRITER = Workflow("writer", state=int, run=write_report, signals=[more])


@effect
def report_of(_: object, number: int) -> FutureResult[str, str]:
    return FutureResult.from_value(f"{number}, " * 400_000)


ready = Published("ready", int)


@program
def write_reports(ctx: WorkflowContext[int]) -> Do[str, str, object]:
    number = yield from ctx.state
    text = yield from report_of(number)
    if number == 0:
        yield from ctx.start_over(1)
    yield from ready.publish(len(text))
    return (yield from more.receive())


WRITERS = Workflow("writers", state=int, run=write_reports, signals=[more, Signal("unread", int)], publishes=[ready])


def app(encryption: Encryption | None = None) -> App[None]:
    return App(None, encryption=encryption).with_jobs(SUMS, TALKER, WRITER, WRITERS)


async def _begin_report(url: str, encryption: Encryption | None) -> None:
    async with app(encryption).open(url) as client:
        await client.handle(WRITER).start("w", 0, wait_for="completion")


async def _end_report(url: str, encryption: Encryption | None) -> Any:
    async with app(encryption).open(url) as client:
        await client.handle(WRITER).signal("w", more, "end: ")
        await client.until(WRITER, "w")
        return await client.handle(WRITER).outcome("w")


async def _begin_talk(url: str, encryption: Encryption | None) -> None:
    async with app(encryption).open(url) as client:
        await client.handle(TALKER).start("t", 0)


async def _end_talk(url: str, encryption: Encryption | None, after: int) -> list[Any]:
    async with app(encryption).open(url) as client:
        await client.handle(TALKER).signal("t", more, "last")
        return [item async for item in client.handle(TALKER).stream("t", words, after=after)]


async def _fill(url: str, encryption: Encryption | None) -> None:
    async with app(encryption).open(url) as client:
        for number in range(COUNT):
            await client.handle(SUMS).send(f"s-{number}", Added(number), idempotency_key=f"k{number}")


async def _sums(url: str, encryption: Encryption | None) -> list[int]:
    """Read all sums, and repeat the requests, which must not add again."""
    async with app(encryption).open(url) as client:
        sums = client.handle(SUMS)
        for number in range(COUNT):
            await sums.send(f"s-{number}", Added(number), idempotency_key=f"k{number}")
        found = [await sums.get_state(f"s-{number}") for number in range(COUNT)]
        return [-1 if each is None else each.cents for each in found]


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/jobs.db"
    asyncio.run(_fill(url, None))
    return url


@pytest.fixture
def schema(postgres_url: str) -> Iterator[PostgresHarness]:
    harness = PostgresHarness(postgres_url)
    yield harness
    asyncio.run(harness.discard())


def test_a_store_goes_to_postgres_and_back(
    sqlite: str, schema: PostgresHarness, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    back = f"sqlite:///{tmp_path}/back.db"
    assert run_command(["copy", sqlite, schema.url]) == 0
    assert run_command(["copy", schema.url, back]) == 0
    assert "are equal: copied" in capsys.readouterr().out
    assert run_command(["copy", "--compare", sqlite, back, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["equal"]
    assert {table["table"]: table["source_rows"] for table in report["tables"]}["instances"] == COUNT
    for url in (schema.url, back):
        assert asyncio.run(_sums(url, None)) == list(range(COUNT))
    assert run_command(["verify", "--store", back]) == 0


@pytest.mark.parametrize("assigned", [1, 1_000])
def test_numbers_that_the_source_or_the_target_has_assigned_are_not_assigned_again(
    sqlite: str, schema: PostgresHarness, assigned: int
):
    """Instances, messages and openings of an earlier store in the schema may still be named in logs and outside."""
    numbers = ("epochs", "incarnations", "message_ids")

    async def prepare() -> None:
        await (await schema.open()).close()
        for each in numbers:
            await schema.execute(f"SELECT setval('perdure.{each}', {assigned})")

    async def last(of: str) -> int:
        return int(await schema.value(f"SELECT last_value FROM perdure.{of}"))  # noqa: S608 - constants

    asyncio.run(prepare())
    assert run_command(["copy", sqlite, schema.url]) == 0
    with closing(sqlite3.connect(sqlite.removeprefix("sqlite:///"))) as database:
        (found,) = database.execute("SELECT epoch, incarnation, message_id FROM counters")
    for each, number in zip(numbers, found, strict=True):
        assert asyncio.run(last(each)) == max(assigned, number)


def test_an_encrypted_store_is_copied_without_its_key(tmp_path: Path, schema: PostgresHarness):
    url = f"sqlite:///{tmp_path}/jobs.db"
    asyncio.run(_fill(url, KEY))
    assert run_command(["copy", url, schema.url]) == 0
    assert asyncio.run(schema.value("SELECT count(*) FROM perdure.instances WHERE state LIKE '%cents%'")) == 0
    assert asyncio.run(_sums(schema.url, KEY)) == list(range(COUNT))


@pytest.mark.parametrize("encryption", [None, KEY])
def test_a_reader_of_a_stream_continues_in_the_copy(
    encryption: Encryption | None, tmp_path: Path, schema: PostgresHarness
):
    url, back = f"sqlite:///{tmp_path}/jobs.db", f"sqlite:///{tmp_path}/back.db"
    asyncio.run(_begin_talk(url, encryption))
    assert run_command(["copy", url, schema.url]) == 0
    plain = asyncio.run(schema.value("SELECT count(*) FROM perdure.streams WHERE body LIKE '%secretive%'"))
    assert plain == (COUNT if encryption is None else 0)
    assert run_command(["copy", schema.url, back]) == 0
    for target in (back, schema.url):
        found = asyncio.run(_end_talk(target, encryption, after=COUNT - 3))
        assert [item.value for item in found] == [f"secretive{COUNT - 2}", f"secretive{COUNT - 1}", "last"]
        assert [item.offset for item in found] == [COUNT - 2, COUNT - 1, COUNT]


def test_a_reader_of_a_stream_continues_in_a_restored_backup(tmp_path: Path):
    url, restored = f"sqlite:///{tmp_path}/jobs.db", tmp_path / "restored.db"
    asyncio.run(_begin_talk(url, KEY))
    assert run_command(["backup", "--store", url, "--output", str(restored)]) == 0
    found = asyncio.run(_end_talk(f"sqlite:///{restored}", KEY, after=COUNT - 2))
    assert [(item.offset, item.value) for item in found] == [(COUNT - 1, f"secretive{COUNT - 1}"), (COUNT, "last")]


@pytest.mark.parametrize("encryption", [None, KEY])
def test_a_large_outcome_is_whole_in_copies_and_in_a_restored_backup(
    encryption: Encryption | None, tmp_path: Path, schema: PostgresHarness
):
    url, back, restored = (f"sqlite:///{tmp_path}/{name}.db" for name in ("jobs", "back", "restored"))
    asyncio.run(_begin_report(url, encryption))
    assert run_command(["backup", "--store", url, "--output", str(tmp_path / "restored.db")]) == 0
    assert run_command(["copy", url, schema.url]) == 0
    plain = asyncio.run(schema.value("SELECT count(*) FROM perdure.journal WHERE body LIKE '%secretive%'"))
    assert plain == (6 if encryption is None else 0)
    assert run_command(["copy", schema.url, back]) == 0
    for target in (schema.url, back, restored):
        assert run_command(["verify", "--store", target]) == 0
        assert asyncio.run(_end_report(target, encryption)) == Done(value=f"end: {reports[-1]}")
    reports.pop()
    assert reports == []  # one call


_NO_NAMES = """UPDATE perdure.journal SET body = '["1","report","done",1,0,1]\n1' WHERE body LIKE '%\n@%'"""
_NO_PART = """UPDATE perdure.journal SET body = '["","","part",0,0,1]\n' WHERE place = 3"""


@pytest.mark.parametrize(
    ("damage", "found"), [(_NO_NAMES, "no row names parts"), (_NO_PART, "parts of a value are missing")]
)
def test_verify_compares_the_parts_of_large_outcomes_with_their_names(
    damage: str, found: str, tmp_path: Path, schema: PostgresHarness, capsys: pytest.CaptureFixture[str]
):
    url = f"sqlite:///{tmp_path}/jobs.db"
    asyncio.run(_begin_report(url, None))
    assert run_command(["copy", url, schema.url]) == 0
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as connection:
        connection.execute(damage.replace("perdure.", ""))
        connection.commit()
    asyncio.run(schema.execute(damage))
    for target in (url, schema.url):
        capsys.readouterr()
        assert run_command(["verify", "--store", target]) == 1
        assert found in capsys.readouterr().out


def test_verify_misses_no_part_of_a_workflow_that_started_over_while_signals_waited(
    tmp_path: Path, schema: PostgresHarness
):
    """Its older rows remain, because of the signals among them. The parts that they name are gone."""
    url = f"sqlite:///{tmp_path}/jobs.db"

    async def begin() -> None:
        async with app().open(url) as client:
            writers = client.handle(WRITERS)
            await writers.hold()
            await writers.start("w", 0)
            for number in range(40):  # more than a fresh journal takes over
                await writers.signal("w", Signal("unread", int), number)
            await writers.release()
            assert await writers.published("w", ready) > 1_000_000

    asyncio.run(begin())
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as connection:
        bodies = [body for (body,) in connection.execute("SELECT body FROM journal ORDER BY place")]
    assert sum("@" in body for body in bodies) == 2, "both reports are named"
    assert run_command(["verify", "--store", url]) == 0
    assert run_command(["copy", url, schema.url]) == 0
    assert run_command(["verify", "--store", schema.url]) == 0


@pytest.mark.parametrize("way", ["there", "back"])
def test_a_copy_that_is_killed_anywhere_continues(
    way: str, sqlite: str, schema: PostgresHarness, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Each attempt writes some pages and is killed within a write, or before the end."""
    source, target = sqlite, schema.url
    if way == "back":
        assert run_command(["copy", sqlite, schema.url]) == 0
        source, target = schema.url, f"sqlite:///{tmp_path}/back.db"
    for writes in (0, 1, 9):
        attempt = [sys.executable, str(KILLED), source, target, str(writes)]
        assert subprocess.run(attempt, check=False).returncode == -signal.SIGKILL  # noqa: S603 - our own script
        with pytest.raises(Exception, match="unfinished copy"):
            asyncio.run(_opened(target))
    capsys.readouterr()
    assert run_command(["copy", source, target]) == 0
    assert "continued" in capsys.readouterr().out
    assert asyncio.run(_sums(target, None)) == list(range(COUNT))


async def _opened(url: str) -> None:
    store = await open_store(url)
    await store.close()


def test_a_copy_needs_a_source_without_an_engine(tmp_path: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]):
    shared = SharedPostgresHarness(postgres_url)
    file = f"sqlite:///{tmp_path}/jobs.db"
    for url, target in ((file, f"sqlite:///{tmp_path}/new.db"), (shared.url, f"sqlite:///{tmp_path}/new.db")):
        store: Store = asyncio.run(_open_and_stay(url, target, capsys))
        assert store is not None
        assert not Path(f"{tmp_path}/new.db").exists()
    asyncio.run(shared.discard())


async def _open_and_stay(url: str, target: str, capsys: pytest.CaptureFixture[str]) -> Store:
    store = await open_store(url)
    assert await asyncio.to_thread(run_command, ["copy", url, target]) == 2
    assert "stop that engine first" in capsys.readouterr().err
    await store.close()
    return store


def test_a_difference_is_named(sqlite: str, schema: PostgresHarness, capsys: pytest.CaptureFixture[str]):
    assert run_command(["copy", sqlite, schema.url]) == 0
    asyncio.run(schema.execute("UPDATE perdure.instances SET event_count = 77 WHERE id = 's-3'"))
    asyncio.run(schema.execute("DELETE FROM perdure.keys WHERE key = 'k5'"))
    capsys.readouterr()
    assert run_command(["copy", "--compare", sqlite, schema.url]) == 1
    told = capsys.readouterr().out
    assert "instance task:sums:s-3: event_count: 1 in the source, 77 in the target" in told
    assert f"{COUNT} rows" in told
    assert f"DIFFERENT, {COUNT - 1} in the target" in told


def test_a_copy_that_differs_does_not_open(sqlite: str, schema: PostgresHarness, capsys: pytest.CaptureFixture[str]):
    """A row that was written into the target before the copy is complete is found by the comparison."""
    attempt = [sys.executable, str(KILLED), sqlite, schema.url, "9"]
    assert subprocess.run(attempt, check=False).returncode == -signal.SIGKILL  # noqa: S603 - our own script
    asyncio.run(schema.execute("UPDATE perdure.instances SET state = '{}' WHERE id = 's-0'"))
    assert run_command(["copy", sqlite, schema.url]) == 1
    told = capsys.readouterr().out
    assert "instance task:sums:s-0: state: '{\"cents\":0}' in the source, '{}' in the target" in told
    assert "does not open as a store" in told
    with pytest.raises(Exception, match="unfinished copy"):
        asyncio.run(_opened(schema.url))


def test_a_message_of_an_application_during_the_copy_is_noticed(
    sqlite: str, schema: PostgresHarness, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    target = f"sqlite:///{tmp_path}/back.db"
    assert run_command(["copy", sqlite, schema.url]) == 0
    attempt = [sys.executable, str(KILLED), schema.url, target, "1"]
    assert subprocess.run(attempt, check=False).returncode == -signal.SIGKILL  # noqa: S603 - our own script
    asyncio.run(schema.execute("SELECT perdure.send('task', 'sums', 's-0', 'send', '{\"cents\": 1}')"))
    assert run_command(["copy", schema.url, target]) == 2
    assert "is an unfinished copy of" in capsys.readouterr().err


@pytest.mark.parametrize("left", ["of an older version", "without a mark"])
def test_an_unfinished_copy_is_continued_only_by_its_own_version(
    left: str, sqlite: str, schema: PostgresHarness, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    target = f"sqlite:///{tmp_path}/back.db"
    assert run_command(["copy", sqlite, schema.url]) == 0
    attempt = [sys.executable, str(KILLED), schema.url, target, "0"]
    assert subprocess.run(attempt, check=False).returncode == -signal.SIGKILL  # noqa: S603 - our own script
    with closing(sqlite3.connect(tmp_path / "back.db.copying")) as file:
        (version,) = file.execute("PRAGMA user_version").fetchone()
        if left == "without a mark":  # killed between the tables and the mark
            for (table,) in file.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
                if table not in ("counters", "copying") and not table.startswith("sqlite_"):
                    file.execute(f"DELETE FROM {table}")  # noqa: S608 - of the schema
            file.execute("DROP TABLE copying")
        else:
            file.execute(f"PRAGMA user_version = {version - 1}")
        file.commit()
    capsys.readouterr()
    if left == "without a mark":
        assert run_command(["copy", schema.url, target]) == 0
        assert "are equal" in capsys.readouterr().out
    else:
        assert run_command(["copy", schema.url, target]) == 2
        assert "is an unfinished copy by an older version; delete it to begin again" in capsys.readouterr().err


def test_the_last_step_is_done_by_the_next_copy(sqlite: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A kill between the two names of a complete file leaves both; the next one finds the file complete."""
    target = tmp_path / "copy.db"
    assert run_command(["copy", sqlite, f"sqlite:///{target}"]) == 0
    os.link(target, f"{target}.copying")
    assert run_command(["copy", sqlite, f"sqlite:///{target}"]) == 2
    assert "a file of that name exists" in capsys.readouterr().err
    assert not Path(f"{target}.copying").exists()
    assert asyncio.run(_sums(f"sqlite:///{target}", None)) == list(range(COUNT))


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("sqlite:///{0}/none.db", "sqlite:///{0}/new.db", "there is no such file"),
        ("memory://", "sqlite:///{0}/new.db", "store of a copy"),
        ("sqlite:///{0}/jobs.db", "mysql://x/y", "a package that declares how"),
        ("sqlite:///{0}/older.db", "sqlite:///{0}/new.db", "start an engine on it once"),
    ],
)
def test_a_store_that_cannot_be_copied_is_refused(
    source: str, target: str, message: str, sqlite: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with (
        closing(sqlite3.connect(tmp_path / "older.db")) as older,
        closing(sqlite3.connect(tmp_path / "jobs.db")) as now,
    ):
        now.backup(older)
        older.execute("PRAGMA user_version = 3")
    assert sqlite
    assert run_command(["copy", source.format(tmp_path), target.format(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new.db").exists()
