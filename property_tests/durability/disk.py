"""A disk that forgets: the content of a file after a cut of power, if only synced writes are sure to be there.

Every operation on files is recorded, in order. From such a log, up to any place, the files are put together that may
lie on the disk when power comes back. Whatever was not followed by a sync of its file is at the mercy of a `Mercy`:
lost as a whole, kept as a whole, or torn into sectors of which some are kept. Names are kept by a directory, and a file
that was made or deleted since the directory was synced may be there under its name or not.

The assumptions are the guarantees of a disk: a sync that was answered is on stable storage, and a write that is
cut off harms no byte outside its range (SQLite's "powersafe overwrite", its default).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Literal, Protocol, TypeAlias, assert_never

import attrs

SECTOR = 512


@attrs.frozen
class Wrote:
    """Bytes went to a place in a file."""

    file: int
    offset: int
    data: bytes


@attrs.frozen
class Read:
    """Bytes of a file were read. It changes nothing, and is not in the log."""


@attrs.frozen
class Truncated:
    """A file was cut to a length."""

    file: int
    size: int


@attrs.frozen
class Synced:
    """A file was synced."""

    file: int


@attrs.frozen
class Forgotten:
    """A sync of a file failed, and the system dropped the unsynced writes: they can be read until power is cut.

    So does Linux: it says once that it could not write, and takes the pages for written from then on.
    """

    file: int


@attrs.frozen
class Named:
    """A name was given to a new file, or taken away: then ``file`` is None."""

    name: str
    file: int | None


@attrs.frozen
class NamesSynced:
    """The directory was synced."""


@attrs.frozen
class Asked:
    """A transition was handed to the store: the ``number``-th."""

    number: int


@attrs.frozen
class Acknowledged:
    """All transitions up to the ``number``-th have been answered as committed."""

    number: int


Entry: TypeAlias = Wrote | Truncated | Synced | Forgotten | Named | NamesSynced | Asked | Acknowledged
Image: TypeAlias = dict[str, bytes]
"""The files of a folder, by name."""


class Mercy(Protocol):
    """Decides which unsynced writes are kept."""

    def fate(self) -> Literal["lost", "kept", "torn"]:
        """Decide on a write, a truncation or a name; only writes are torn."""
        ...

    def keeps_sector(self) -> bool:
        """Decide on a sector of a torn write."""
        ...


class NoMercy:
    """Everything that was not synced is lost."""

    def fate(self) -> Literal["lost", "kept", "torn"]:
        """Lose it."""
        return "lost"

    def keeps_sector(self) -> bool:
        """Lose it."""
        return False


class Whim:
    """Each thing has its own fate, drawn from a seed.

    Args:
        seed: of the random values.
        kept: how likely something is kept as a whole, 0 to 1; of the rest, half is torn.
    """

    def __init__(self, seed: int, kept: float) -> None:
        self._random = Random(seed)  # noqa: S311 - reproducible on purpose
        self._kept = kept

    def fate(self) -> Literal["lost", "kept", "torn"]:
        """Draw it."""
        if self._random.random() < self._kept:
            return "kept"
        return "torn" if self._random.random() < 0.5 else "lost"

    def keeps_sector(self) -> bool:
        """Draw it."""
        return self._random.random() < 0.5


@attrs.define
class _File:
    """A file: its durable content, and the operations since."""

    data: bytearray = attrs.Factory(bytearray)
    unsynced: list[Wrote | Truncated] = attrs.Factory(list["Wrote | Truncated"])

    def sync(self) -> None:
        for change in self.unsynced:
            _do(self.data, change)
        self.unsynced.clear()

    def after_the_cut(self, mercy: Mercy) -> bytes:
        data = bytearray(self.data)
        for change in self.unsynced:
            _at_the_mercy(data, change, mercy)
        return bytes(data)


def surviving(log: Sequence[Entry], mercy: Mercy) -> Image:
    """Return the files that are on the disk when power comes back after the last entry.

    Args:
        log: the operations up to the cut.
        mercy: the part kept of unsynced writes.
    """
    files: dict[int, _File] = {}
    names: dict[str, int | None] = {}
    unsynced_names: list[Named] = []
    for entry in log:
        match entry:
            case Wrote(file) | Truncated(file):
                files[file].unsynced.append(entry)
            case Synced(file):
                files[file].sync()
            case Forgotten(file):
                files[file].unsynced.clear()
            case Named(_, file):
                unsynced_names.append(entry)
                if file is not None:
                    files[file] = _File()
            case NamesSynced():
                names |= {named.name: named.file for named in unsynced_names}
                unsynced_names.clear()
            case Asked() | Acknowledged():
                pass
            case _:
                assert_never(entry)
    names |= {named.name: named.file for named in unsynced_names if mercy.fate() == "kept"}
    return {name: files[file].after_the_cut(mercy) for name, file in names.items() if file is not None}


def write_image(image: Image, folder: Path) -> None:
    """Put files into an empty folder."""
    folder.mkdir()
    for name, data in image.items():
        (folder / name).write_bytes(data)


def _at_the_mercy(data: bytearray, change: Wrote | Truncated, mercy: Mercy) -> None:
    fate = mercy.fate()
    if fate == "kept":
        _do(data, change)
    elif fate == "torn" and isinstance(change, Wrote):
        for piece in _sectors(change):
            if mercy.keeps_sector():
                _do(data, piece)
            elif mercy.keeps_sector():  # the file may have become longer without its data
                _grow(data, piece.offset + len(piece.data))


def _sectors(write: Wrote) -> list[Wrote]:
    end = write.offset + len(write.data)
    borders = [write.offset, *range(write.offset // SECTOR * SECTOR + SECTOR, end, SECTOR), end]
    return [
        Wrote(write.file, start, write.data[start - write.offset : stop - write.offset])
        for start, stop in pairwise(borders)
    ]


def _do(data: bytearray, change: Wrote | Truncated) -> None:
    match change:
        case Wrote(_, offset, written):
            _grow(data, offset + len(written))
            data[offset : offset + len(written)] = written
        case Truncated(_, size):
            del data[size:]
            _grow(data, size)
        case _:
            assert_never(change)


def _grow(data: bytearray, size: int) -> None:
    data.extend(bytes(max(0, size - len(data))))
