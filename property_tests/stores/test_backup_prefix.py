"""A backup that is made under load is a prefix of the commits, each of them whole, and a prefix that is long enough."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from watched_disk import WatchedDisk

from perdure.stores.contract import Store, commit_one
from perdure.testing.conformance.assertions import value
from perdure.testing.conformance.histories import message, remembered, started
from perdure.values.address import Address
from perdure.values.instance import Fence, Instance
from perdure.values.transition import Put, Transition

SINK = Address("task", "sink", "s")
PADDING = "x" * 2_000  # so that a few commits fill pages


@define
class Load:
    """Clients that commit repeatedly: each commit writes its version into every table."""

    store: Store
    acknowledged: Counter[str] = field(factory=Counter)
    asked: Counter[str] = field(factory=Counter)
    is_over: bool = False
    enough: int = 0
    has_enough: asyncio.Event = field(factory=asyncio.Event)

    async def client(self, at: Address) -> None:
        fence: Fence | None = None
        while not self.is_over:
            version = 1 if fence is None else fence.version + 1
            self.asked[at.id] = version
            fence = await value(commit_one(self.store, transition(at, fence, version)))
            self.acknowledged[at.id] = version
            if self.acknowledged.total() >= self.enough:
                self.has_enough.set()


def transition(at: Address, fence: Fence | None, version: int) -> Transition:
    state = f'"{version} {PADDING}"'
    return Transition(
        address=at,
        expected=fence,
        write=Put(
            Instance(address=at, created_ms=1, updated_ms=1, version=version, alarm_ms=version, state=state),
        ),
        remember=(remembered("k", str(version)),),
        messages=(message(at, SINK, str(version)),),
        events=(started(at, at_ms=version),),
    )


async def back_up_under_load(folder: Path, clients: int, before: int, step_pages: int) -> tuple[Load, Counter[str]]:
    store = await WatchedDisk().open(folder / "jobs.db", backup_pages=step_pages)
    assert store.backup is not None
    load = Load(store, enough=before)
    running = [asyncio.ensure_future(load.client(Address("task", "job", str(number)))) for number in range(clients)]
    if before:
        await load.has_enough.wait()
    promised = load.acknowledged.copy()
    await value(store.backup.make(folder / "copy.db", lambda _: None))
    load.is_over = True
    await asyncio.gather(*running)
    await value(store.close())
    return load, promised


@given(clients=st.integers(1, 6), before=st.integers(0, 60), step_pages=st.integers(1, 40))
def test_a_backup_is_a_whole_prefix_of_the_commits(clients: int, before: int, step_pages: int) -> None:
    with TemporaryDirectory(prefix="perdure-") as name:
        folder = Path(name)
        load, promised = asyncio.run(back_up_under_load(folder, clients, before, step_pages))
        with closing(sqlite3.connect(folder / "jobs.db")) as database:
            history = database.execute("SELECT sequence, address, at_ms FROM events ORDER BY sequence").fetchall()
        with closing(sqlite3.connect(folder / "copy.db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            logged = database.execute("SELECT sequence, address, at_ms FROM events ORDER BY sequence").fetchall()
            stored = database.execute("SELECT id, version, state, alarm_ms, due_ms FROM instances").fetchall()
            keys = dict(database.execute("SELECT address, answer FROM keys"))
            sent = dict(database.execute("SELECT sender, group_concat(payload, ' ') FROM messages GROUP BY sender"))
            counters = database.execute("SELECT incarnation, message_id, sequence FROM counters").fetchone()
    assert logged == history[: len(logged)]
    versions = {address.rpartition(":")[2]: at_ms for _, address, at_ms in logged}
    assert {id_: version for id_, version, *_ in stored} == versions
    assert all(state.split()[0] == f'"{version}' for _, version, state, *_ in stored)
    assert all(version == alarm_ms == due_ms for _, version, _, alarm_ms, due_ms in stored)
    assert {address.rpartition(":")[2]: int(answer) for address, answer in keys.items()} == versions
    assert {sender.rpartition(":")[2]: payloads for sender, payloads in sent.items()} == {
        id_: " ".join(map(str, range(1, version + 1))) for id_, version in versions.items()
    }
    assert counters == (len(versions), len(logged), len(logged))
    for id_, version in promised.items():
        assert version <= versions[id_] <= load.asked[id_]
