"""Files of a store belong to their owner alone, whatever the umask, and files that others can open are reported."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure import App, Task
from perdure.cli.commands import run_command
from perdure.cli.demo.services import Called, Journal
from perdure.stores.sqlite import open_sqlite
from perdure.values.errors import StoreLocked

UMASKS = (0o000, 0o002, 0o022, 0o077, 0o277, 0o777)

kept = Task(
    "kept",
    state=int,
    event=int,
    initial=0,
    on_event=lambda ctx, event: ctx.set_state(event),
    execute=lambda ctx: ctx.set_state(0),
)


@pytest.fixture(params=UMASKS, ids=[f"{each:03o}" for each in UMASKS])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder, while the process has an umask."""
    before = os.umask(request.param)
    try:
        yield tmp_path
    finally:
        os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


async def use(path: Path) -> dict[str, int]:
    """Open a store, write to it and back it up, and return the modes of all files meanwhile."""
    async with App(None).with_jobs(kept).open(f"sqlite:///{path}") as jobs:
        await jobs.handle(kept).send("one", 1)
        await jobs.backup(path.with_name("backup.db"))
        return modes(path.parent)


def test_every_file_of_a_store_is_private(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "jobs.db"
    expected = {"jobs.db", "jobs.db.lock", "jobs.db-wal", "jobs.db-shm", "backup.db"}
    assert asyncio.run(use(path)) == dict.fromkeys(expected, 0o600)
    url = ["--store", f"sqlite:///{path}"]
    assert run_command(["snapshot", *url, "--output", str(folder / "rows.jsonl")]) == 0
    assert run_command(["backup", *url, "--output", str(folder / "outside.db")]) == 0
    assert run_command(["copy", f"sqlite:///{path}", f"sqlite:///{folder / 'copied.db'}"]) == 0
    assert run_command(["vacuum", *url]) == 0
    Journal(str(folder / "journal")).append(Called("one"))
    found = modes(folder)
    assert {"rows.jsonl", "outside.db", "copied.db", "journal"} <= set(found)
    assert {name for name, mode in found.items() if mode != 0o600} == set()


def test_a_file_keeps_the_mode_that_an_operator_chose(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "jobs.db"
    path.touch()
    path.chmod(0o640)
    with caplog.at_level(logging.WARNING):
        found = asyncio.run(use(path))
    assert found == {
        "jobs.db": 0o640,
        "jobs.db-wal": 0o640,
        "jobs.db-shm": 0o640,
        "jobs.db.lock": 0o600,
        "backup.db": 0o600,
    }
    assert caplog.messages == []


@pytest.mark.parametrize(("suffix", "mode"), [("", 0o604), (".lock", 0o644)])
def test_an_exposed_file_is_reported_at_the_start_and_by_the_doctor(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], suffix: str, mode: int
) -> None:
    path = tmp_path / "jobs.db"
    asyncio.run(use(path))
    (tmp_path / "backup.db").unlink()
    exposed = tmp_path / f"jobs.db{suffix}"
    exposed.chmod(mode)
    with caplog.at_level(logging.WARNING):
        asyncio.run(use(path))
    (warning,) = [each for each in caplog.messages if "every user" in each]
    assert f"{exposed.name} {mode:04o}" in warning
    assert "chmod o-rw" in warning
    capsys.readouterr()
    run_command(["doctor", "--store", f"sqlite:///{path}"])
    (line,) = [each for each in capsys.readouterr().out.splitlines() if "permissions" in each]
    assert line.startswith("warning")
    assert exposed.name in line


STRANGER = """
import fcntl, os, sys
os.setuid(65534)
for name in sys.argv[1:]:
    try:
        fcntl.flock(os.open(name, os.O_RDONLY), fcntl.LOCK_EX)
    except PermissionError:
        print("refused")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_another_user_can_neither_read_nor_lock_a_file(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    asyncio.run(use(path))
    for each in (tmp_path, *tmp_path.parents[:3]):
        each.chmod(0o755)
    names = [str(path), f"{path}.lock", str(tmp_path / "backup.db")]
    ran = subprocess.run([sys.executable, "-c", STRANGER, *names], capture_output=True, text=True, check=True)  # noqa: S603 - our own script
    assert ran.stdout.split() == ["refused"] * 3


@pytest.mark.skipif(sys.platform != "linux", reason="needs the kernel's table of locks")
def test_a_process_that_locks_the_store_and_is_no_engine_is_named(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    asyncio.run(use(path))
    lock = Path(f"{path}.lock")
    lock.write_text("process 1234567 on gone\n")
    holder = os.open(lock, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    try:
        with pytest.raises(StoreLocked) as caught:
            asyncio.run(_opened(path))
    finally:
        os.close(holder)
    assert caught.value.owner == (
        f"process {os.getpid()}, which locked {lock} and did not sign it (the last engine was process 1234567 on gone)"
    )


async def _opened(path: Path) -> None:
    await (await open_sqlite(path)).close()
