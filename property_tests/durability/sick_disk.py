"""A disk that refuses for a while, and is well again: what was told to callers against what is in the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import attrs
from disk import Entry, Forgotten, NoMercy, Synced, surviving, write_image
from recording import Recorder, open_recorded
from returns.result import Success

from perdure.runtime.simulated import Simulation
from perdure.stores.store import Store
from perdure.testing.conformance.examples import address, put
from perdure.testing.conformance.requirement import answer, value

FILE = "jobs.db"
GROUPS = (1, 3, 2, 1, 4, 1, 2)
PADDING = "x" * 3_000
CHECKPOINT_PAGES = 12  #: so that some of the refusals are met by a checkpoint


def _fails_to_sync() -> apsw.Error:
    error = apsw.IOError("the disk could not sync")
    error.extendedresult = apsw.SQLITE_IOERR_FSYNC
    return error


AILMENTS: Mapping[str, Callable[[Entry], apsw.Error | None]] = {
    "is full": lambda entry: None if isinstance(entry, Synced) else apsw.FullError("the disk is full"),
    "is read-only": lambda entry: None if isinstance(entry, Synced) else apsw.ReadOnlyError("the disk is read-only"),
    "does not write": lambda entry: None if isinstance(entry, Synced) else apsw.IOError("the disk could not write"),
    "does not sync": lambda entry: _fails_to_sync() if isinstance(entry, Synced) else None,
}
"""What a sick disk answers to what is about to be done to a file; None: that is done."""


@attrs.frozen(kw_only=True)
class Illness:
    """When a disk is sick, and how.

    Attributes:
        ailment: one of `AILMENTS`.
        after: from which thing on that is done to a file, counted from 0.
        lasts: how many of them are met by it.
    """

    ailment: str
    after: int
    lasts: int


class SickDisk(Recorder):
    """A disk that is sick for a while.

    Attributes:
        asked: how often something was to be done to a file, refused or not, since it fell ill.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._illness: Illness | None = None
        self.asked = 0

    def fall_ill(self, illness: Illness | None) -> None:
        """Fall ill, or be well again."""
        self._illness, self.asked = illness, 0

    def before(self, entry: Entry) -> None:
        """Refuse, while it is sick."""
        place, self.asked = self.asked, self.asked + 1
        ill = self._illness
        if ill is not None and ill.after <= place < ill.after + ill.lasts:
            error = AILMENTS[ill.ailment](entry)
            if error is not None:
                if isinstance(entry, Synced):
                    self.log.append(Forgotten(entry.file))
                raise error


@attrs.frozen(kw_only=True)
class Recovery:
    """What came of it.

    Attributes:
        asked: how often something was to be done to a file, refused or not.
        told: what each commit was answered: the class of its error, or "ok".
        afterwards: what a commit was answered when the disk was well again.
        there: the ids of the instances that are in the file in the end.
        after_a_cut: those that are there if power is cut then, and all is lost that was not synced.
        damage: what SQLite finds wrong with the file.
    """

    asked: int
    told: Mapping[str, str]
    afterwards: str
    there: frozenset[str]
    after_a_cut: frozenset[str]
    damage: tuple[str, ...]


def recovery(folder: Path, illness: Illness | None) -> Recovery:
    """Commit in groups on a disk that is sick for a while, then once more when it is well, and look at the file."""
    folder.mkdir()
    disk = SickDisk(f"sick-{folder}")
    simulation = Simulation(order="fifo")

    async def day() -> tuple[dict[str, str], int, str, int]:
        store = await open_recorded(folder / FILE, disk, checkpoint_pages=CHECKPOINT_PAGES, runtime=simulation.runtime)
        disk.fall_ill(illness)
        told = await _told(store, simulation)
        asked = disk.asked
        disk.fall_ill(None)
        afterwards = _word(await answer(store.commit(_numbered("afterwards"))))
        cut = len(disk.log)
        await value(store.close())
        return told, asked, afterwards, cut

    told, asked, afterwards, cut = simulation.run(day())
    simulation.close()
    disk.unregister()
    write_image(surviving(disk.log[:cut], NoMercy()), folder / "cut")
    there, damage = _found(folder / FILE)
    after_a_cut, damage_then = _found(folder / "cut" / FILE)
    return Recovery(
        asked=asked,
        told=told,
        afterwards=afterwards,
        there=there,
        after_a_cut=after_a_cut,
        damage=(*damage, *damage_then),
    )


async def _told(store: Store, simulation: Simulation) -> dict[str, str]:
    told: dict[str, str] = {}

    async def commit(id_: str) -> None:
        told[id_] = _word(await answer(store.commit(_numbered(id_))))

    for group, size in enumerate(GROUPS):
        tasks = [simulation.runtime.spawn(commit(f"{group}-{number}"), name="client") for number in range(size)]
        for task in tasks:
            await task
    return told


def _numbered(id_: str) -> Any:
    return put(address(id_), state=f'"{PADDING}"')


def _word(found: Any) -> str:
    return "ok" if isinstance(found, Success) else type(found.failure()).__name__


def _found(path: Path) -> tuple[frozenset[str], tuple[str, ...]]:
    """Give the ids of all instances, and what SQLite finds wrong."""
    with closing(sqlite3.connect(path)) as database:
        ids = frozenset(id_ for (id_,) in database.execute("SELECT id FROM instances"))
        return ids, tuple(text for (text,) in database.execute("PRAGMA integrity_check") if text != "ok")
