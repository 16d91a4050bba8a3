"""The cut: run a load on a disk that keeps a log, cut the power anywhere in it, and open what survived."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from random import Random

import attrs
from disk import Acknowledged, Asked, Entry, Image, Mercy, Synced, surviving, write_image
from load import Clerk, Picture, carry_out, picture_of
from recording import Chosen, Recorder, open_recorded

from perdure.runtime.simulated import Simulation
from perdure.stores.sqlite import open_sqlite
from perdure.testing.conformance.assertions import value

FILE = "jobs.db"
_DATABASE = 1  # the number of the file in the log: SQLite opens it first


@attrs.frozen(kw_only=True)
class Recording:
    """A load that was carried out to its end.

    Attributes:
        log: all operations on the disk, sent and answered.
        pictures: the content of the store after 0, 1, 2, … transitions.
    """

    log: tuple[Entry, ...]
    pictures: tuple[Picture, ...]

    @property
    def cuts(self) -> range:
        """The places at which power may be cut: before the entry of that number."""
        return range(len(self.log) + 1)

    def asked(self, cut: int) -> int:
        """Return how many transitions had been handed to the store before a cut."""
        return max((entry.number for entry in self.log[:cut] if isinstance(entry, Asked)), default=0)

    def acknowledged(self, cut: int) -> int:
        """Return how many had been acknowledged."""
        return max((entry.number for entry in self.log[:cut] if isinstance(entry, Acknowledged)), default=0)

    def checkpointed(self, cut: int) -> int:
        """Return how many had been acknowledged before the last checkpoint was complete."""
        syncs = [place for place, entry in enumerate(self.log[:cut]) if entry == Synced(_DATABASE)]
        return self.acknowledged(syncs[-1]) if syncs else 0

    def promised(self, cut: int, durability: Chosen) -> int:
        """Return how many must be there after a cut."""
        return self.acknowledged(cut) if durability == "full" else self.checkpointed(cut)


_names = itertools.count()


def record(
    folder: Path,
    *,
    durability: Chosen,
    checkpoint_pages: int,
    pragmas: tuple[str, ...],
    transitions: int,
    seed: int = 0,
) -> Recording:
    """Carry out a load, and keep the log of the disk.

    Args:
        folder: where the files lie; empty.
        durability: as the user chooses it.
        checkpoint_pages: the length of the log from which on it is moved into the file.
        pragmas: the settings that differ from those of the library.
        transitions: how many are committed.
        seed: the seed of the load.
    """
    recorder = Recorder(f"recorder-{next(_names)}")
    simulation = Simulation(seed=seed)
    clerk = Clerk(Random(seed))  # noqa: S311 - reproducible on purpose

    async def load() -> None:
        store = await open_recorded(
            folder / FILE,
            recorder,
            durability=durability,
            checkpoint_pages=checkpoint_pages,
            pragmas=pragmas,
            runtime=simulation.runtime,
        )
        await carry_out(store, clerk, simulation, recorder.log, transitions)

    simulation.run(load())
    simulation.close()
    recorder.unregister()
    return Recording(log=tuple(recorder.log), pictures=tuple(clerk.pictures))


@attrs.define
class Judge:
    """Opens what survived, with the store of the library, and says how much of the load it holds.

    Attributes:
        folder: where files may be put.
        recording: the load.
    """

    folder: Path
    recording: Recording
    _known: dict[int, int] = attrs.Factory(dict[int, int])
    _images: Iterator[int] = attrs.Factory(itertools.count)

    def transitions(self, cut: int, mercy: Mercy) -> int:
        """Cut, open, and count the transitions that are there: exactly those, and each of them whole."""
        image = surviving(self.recording.log[:cut], mercy)
        key = hash(tuple(sorted(image.items())))
        if key not in self._known:
            self._known[key] = self._open(image)
        return self._known[key]

    def _open(self, image: Image) -> int:
        folder = self.folder / str(next(self._images))
        # SQLite's index of its log is shared memory in a file: nothing that it holds may be relied on.
        write_image(image | {f"{FILE}-shm": b"\xa5" * 32_768}, folder)
        asyncio.run(_opened_and_closed(folder / FILE))
        found = picture_of(folder / FILE)
        number = len(found.events)
        assert found == self.recording.pictures[number], f"not what {number} transitions leave"
        return number


async def _opened_and_closed(path: Path) -> None:
    store = await open_sqlite(path, durability="relaxed")
    health = await value(store.health())
    assert health.state == "ok", health
    await value(store.close())
