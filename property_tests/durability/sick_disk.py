"""A disk that fails for a while and recovers: the answers of callers against the content of the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

import apsw
import attrs
from disk import Entry, Forgotten, NoMercy, Read, Synced, surviving, write_image
from recording import Recorder, open_recorded
from returns.result import Success

from perdure.runtime.simulated import Simulation
from perdure.stores.contract import Store, commit_one, load_one
from perdure.stores.values import Query
from perdure.testing.conformance.assertions import answer, value
from perdure.testing.conformance.histories import address, put

FILE = "jobs.db"
GROUPS = (1, 3, 2, 1, 4, 1, 2)
PADDING = "x" * 3_000
CHECKPOINT_PAGES = 12  #: so that some of the refusals are met by a checkpoint


def _fails_to_sync() -> apsw.Error:
    error = apsw.IOError("the disk could not sync")
    error.extendedresult = apsw.SQLITE_IOERR_FSYNC
    return error


def _fails_to_read() -> apsw.Error:
    error = apsw.IOError("the disk could not read")
    error.extendedresult = apsw.SQLITE_IOERR_CORRUPTFS  # as SQLite's unixRead answers to EIO
    return error


def _is_full(entry: Entry | Read) -> apsw.Error | None:
    return None if isinstance(entry, Synced | Read) else apsw.FullError("the disk is full")


def _is_read_only(entry: Entry | Read) -> apsw.Error | None:
    return None if isinstance(entry, Synced | Read) else apsw.ReadOnlyError("the disk is read-only")


def _does_not_write(entry: Entry | Read) -> apsw.Error | None:
    return None if isinstance(entry, Synced | Read) else apsw.IOError("the disk could not write")


def _does_not_sync(entry: Entry | Read) -> apsw.Error | None:
    return _fails_to_sync() if isinstance(entry, Synced) else None


def _does_not_read(entry: Entry | Read) -> apsw.Error | None:
    return _fails_to_read() if isinstance(entry, Read) else None


def _does_nothing(entry: Entry | Read) -> apsw.Error | None:
    return _does_not_sync(entry) or _does_not_read(entry) or _does_not_write(entry)


Ailment: TypeAlias = Callable[[Entry | Read], apsw.Error | None]

AILMENTS: Mapping[str, Ailment] = {
    "is full": _is_full,
    "is read-only": _is_read_only,
    "does not write": _does_not_write,
    "does not sync": _does_not_sync,
    "does nothing": _does_nothing,
}
"""The answer of a failing disk to an access; None: the access succeeds."""


@attrs.frozen(kw_only=True)
class Illness:
    """When a disk is sick, and how.

    Attributes:
        ailment: one of `AILMENTS`.
        after: the first write, truncation or sync that meets it, counted from 0.
        lasts: how many of them meet it. A read that the ailment refuses counts as well: a store that cannot read never
            comes to its next write, and the illness would have no end.
        reads_before: reads that succeed once it has begun.
        unread: how many reads fail after those, whatever the ailment.
    """

    ailment: str
    after: int
    lasts: int
    reads_before: int = 0
    unread: int = 0


class SickDisk(Recorder):
    """A disk that is sick for a while.

    Attributes:
        asked: the file operations, refused or not, since the disk began to fail.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._illness: Illness | None = None
        self.asked = 0
        self._reads = 0  # since the illness began

    def fall_ill(self, illness: Illness | None) -> None:
        """Fall ill, or be well again."""
        self._illness, self.asked, self._reads = illness, 0, 0

    def before(self, entry: Entry | Read) -> None:
        """Refuse, while it is sick."""
        error = self._reading() if isinstance(entry, Read) else self._writing(entry)
        if error is not None:
            if isinstance(entry, Synced):
                self.log.append(Forgotten(entry.file))
            raise error

    def _writing(self, entry: Entry) -> apsw.Error | None:
        place, self.asked = self.asked, self.asked + 1
        ill = self._illness
        if ill is None or not ill.after <= place < ill.after + ill.lasts:
            return None
        return AILMENTS[ill.ailment](entry)

    def _reading(self) -> apsw.Error | None:
        ill = self._illness
        if ill is None or self.asked <= ill.after:
            return None
        place, self._reads = self._reads, self._reads + 1
        if ill.reads_before <= place < ill.reads_before + ill.unread:
            return _fails_to_read()
        refused = AILMENTS[ill.ailment](Read()) if self.asked < ill.after + ill.lasts else None
        if refused is not None:
            self.asked += 1
        return refused


@attrs.frozen(kw_only=True)
class Recovery:
    """The outcome.

    Attributes:
        asked: the file operations, refused or not.
        answers: the answer of each commit: the class of its error, or "ok".
        read: what reads were answered, in the same words.
        afterwards: the answer of a commit when the disk had recovered.
        there: the ids of the instances that are in the file in the end.
        after_a_cut: those that are there if power is cut then, and all is lost that was not synced.
        damage: what SQLite finds wrong with the file.
    """

    asked: int
    answers: Mapping[str, str]
    read: frozenset[str]
    afterwards: str
    there: frozenset[str]
    after_a_cut: frozenset[str]
    damage: tuple[str, ...]


def recovery(folder: Path, illness: Illness | None, *, rows: int = 0, groups: Sequence[int] = GROUPS) -> Recovery:
    """Commit in groups on a disk that is sick for a while, then once more when it is well, and inspect the file.

    Args:
        folder: is made, for the files.
        illness: of the disk; None: it is well.
        rows: stored before.
        groups: how many callers commit together.
    """
    folder.mkdir()
    disk = SickDisk(f"sick-{folder}")
    simulation = Simulation(order="fifo")

    async def day() -> tuple[dict[str, str], set[str], int, str, int]:
        options = {"checkpoint_pages": CHECKPOINT_PAGES, "cache_bytes": 0}
        store = await open_recorded(folder / FILE, disk, **options, runtime=simulation.runtime)
        before = [simulation.runtime.spawn(_stored(store, f"before-{row}"), name="client") for row in range(rows)]
        for task in before:
            await task
        disk.fall_ill(illness)
        answers, read = await _answers(store, simulation, groups)
        asked = disk.asked
        disk.fall_ill(None)
        afterwards = _word(await answer(commit_one(store, _numbered("afterwards"))))
        cut = len(disk.log)
        await value(store.close())
        return answers, read, asked, afterwards, cut

    answers, read, asked, afterwards, cut = simulation.run(day())
    simulation.close()
    disk.unregister()
    write_image(surviving(disk.log[:cut], NoMercy()), folder / "cut")
    there, damage = _found(folder / FILE)
    after_a_cut, damage_then = _found(folder / "cut" / FILE)
    return Recovery(
        asked=asked,
        answers=answers,
        read=frozenset(read),
        afterwards=afterwards,
        there=there,
        after_a_cut=after_a_cut,
        damage=(*damage, *damage_then),
    )


async def _stored(store: Store, id_: str) -> None:
    await value(commit_one(store, _numbered(id_)))


async def _answers(store: Store, simulation: Simulation, groups: Sequence[int]) -> tuple[dict[str, str], set[str]]:
    answers: dict[str, str] = {}
    read: set[str] = set()

    async def commit(id_: str) -> None:
        answers[id_] = _word(await answer(commit_one(store, _numbered(id_))))

    for group, size in enumerate(groups):
        tasks = [simulation.runtime.spawn(commit(f"{group}-{number}"), name="client") for number in range(size)]
        for task in tasks:
            await task
        read.add(_word(await answer(load_one(store, address(_spread("0-0")), None))))
        read.add(_word(await answer(store.find(Query()))))
    return answers, read


def _numbered(id_: str) -> Any:
    return put(address(_spread(id_)), state=f'"{PADDING}"')


def _spread(id_: str) -> str:
    """Put ids that follow each other onto different pages of the index."""
    return f"{sha256(id_.encode()).hexdigest()}-{id_}"


def _word(found: Any) -> str:
    return "ok" if isinstance(found, Success) else type(found.failure()).__name__


def _found(path: Path) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the ids of all instances, and what SQLite finds wrong."""
    with closing(sqlite3.connect(path)) as database:
        stored = database.execute("SELECT id FROM instances")
        ids = frozenset(id_.partition("-")[2] for (id_,) in stored)
        return ids, tuple(text for (text,) in database.execute("PRAGMA integrity_check") if text != "ok")
