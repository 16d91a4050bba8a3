"""Every command on a damaged file: it returns a documented exit code, whatever the damage, and never a traceback."""

# ruff: noqa: S608 - the statements are made of constants

from __future__ import annotations

import asyncio
import io
import sqlite3
from contextlib import chdir, closing, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Literal

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.cli.commands import run_command
from perdure.stores.contract import commit_one
from perdure.stores.sqlite import open_sqlite
from perdure.testing.conformance.assertions import value
from perdure.testing.conformance.histories import ERROR, address, message, message_id, put, remembered, started
from perdure.values.message import DeadLettered
from perdure.values.transition import Transition

PAGE_BYTES = 4_096
TABLES = ("instances", "messages", "dead_letters", "keys", "events", "counters")
STORE = ("--store", "sqlite:///bad.db")
CODES = {
    ("verify", *STORE): {0, 1, 2},
    ("verify", "--json", *STORE): {0, 1, 2},
    ("check", "damaged_app:app", *STORE): {0, 1, 2},
    ("stats", *STORE): {0, 2},
    ("snapshot", "--redact", "n", "--output", "rows.json", *STORE): {0, 2},
    ("backup", "--output", "copy.db", *STORE): {0, 2},
}

APP = """
from perdure import App, Task
orders = Task("orders", state=dict[str, str], event=str, initial={}, on_event=lambda ctx, _: ctx.state)
app = App(None).with_jobs(orders)
"""


@attrs.frozen
class Damage:
    """One damage to the bytes of a file."""

    kind: Literal["truncate", "overwrite", "zero a page"]
    part: float
    noise: bytes

    def apply(self, file: bytearray) -> None:
        at = int(self.part * len(file))
        match self.kind:
            case "truncate":
                del file[at:]
            case "overwrite":
                file[at : at + len(self.noise)] = self.noise[: len(file) - at]
            case "zero a page":
                begin = at - at % PAGE_BYTES
                file[begin : begin + PAGE_BYTES] = bytes(len(file[begin : begin + PAGE_BYTES]))


@attrs.frozen
class WrongValue:
    """A value in a column that the type of the column excludes."""

    table: str
    column: int
    value: str


damages = st.builds(
    Damage,
    st.sampled_from(["truncate", "overwrite", "zero a page"]),
    st.floats(0, 1, exclude_max=True),
    st.binary(min_size=1, max_size=8),
)
wrong_values = st.builds(
    WrongValue,
    st.sampled_from(TABLES),
    st.integers(0, 20),
    st.sampled_from(["NULL", "-1", "9223372036854775807", "'x'", "''", "x'ff'", "CAST(x'ff' AS TEXT)", "1.5", "'{}'"]),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "damaged_app.py").write_text(APP)

    async def main() -> None:
        store = await open_sqlite(folder / "good.db")
        a, b = address("a"), address("b")
        for number in range(30):
            state = f'{{"n":"{"1" * 300}"}}'
            await value(commit_one(store, put(address(f"i{number}"), alarm_ms=5, state=state)))
            sent, key = (message(a, b, f'"{number}"'),), remembered(f"k{number}", '"done"')
            await value(commit_one(store, put(address(f"m{number}"))))
            await value(commit_one(store, Transition(address=a, messages=sent, remember=(key,), events=(started(a),))))
        fate = DeadLettered(message_id=await message_id(store, '"0"'), deliveries=10, error=ERROR)
        await value(commit_one(store, Transition(address=b, inbound=fate)))
        await value(store.close())

    asyncio.run(main())
    return folder


def check_commands(folder: Path) -> None:
    errors = io.StringIO()
    with chdir(folder), redirect_stdout(io.StringIO()), redirect_stderr(errors):
        for command, codes in CODES.items():
            for made in ("rows.json", "copy.db"):
                Path(made).unlink(missing_ok=True)
            assert run_command(command) in codes, command
    assert "Traceback" not in errors.getvalue()


def put_in_place(folder: Path, content: bytes) -> None:
    for old in folder.glob("bad.db*"):
        old.unlink()
    (folder / "bad.db").write_bytes(content)


@settings(max_examples=40, deadline=None)
@given(st.lists(damages, min_size=1, max_size=3))
def test_damaged_bytes(folder: Path, damages: list[Damage]) -> None:
    file = bytearray((folder / "good.db").read_bytes())
    for damage in damages:
        damage.apply(file)
    put_in_place(folder, bytes(file))
    check_commands(folder)


@settings(max_examples=40, deadline=None)
@given(st.lists(wrong_values, min_size=1, max_size=4))
def test_values_of_the_wrong_type(folder: Path, wrong: list[WrongValue]) -> None:
    """A damaged page keeps neither types nor NOT NULL: take both away, write, and restore them."""
    put_in_place(folder, (folder / "good.db").read_bytes())
    path = folder / "bad.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        schema = database.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'").fetchall()
        database.execute("PRAGMA writable_schema = ON")
        for name, sql in schema:
            loose = sql.replace("STRICT, ", "").replace("STRICT", "").replace(" NOT NULL", "").replace(" TEXT", "")
            database.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (loose, name))
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for each in wrong:
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({each.table})")]
            column = columns[each.column % len(columns)]
            of = "key = 'k7'" if each.table == "keys" else f"rowid IN (SELECT max(rowid) FROM {each.table})"
            with suppress(sqlite3.IntegrityError):  # a primary key, which keeps its type
                database.execute(f"UPDATE {each.table} SET {column} = {each.value} WHERE {of}")
        database.execute("PRAGMA writable_schema = ON")
        for name, sql in schema:
            database.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (sql, name))
    check_commands(folder)
