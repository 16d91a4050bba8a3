"""The journal of a service of the demo: an append-only file next to the store, the evidence of the proof."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TypeAlias

import attrs

from perdure.codecs import Codec
from perdure.stores.sqlite.files import open_private


@attrs.frozen
class Called:
    """The service received a call."""

    call: str


@attrs.frozen
class Taken:
    """The service executed the call, with these items."""

    call: str
    items: tuple[str, ...]


@attrs.frozen
class AlreadyApplied:
    """The service had executed the call before, and did not execute it again."""

    call: str


@attrs.frozen
class ServiceRefused:
    """The service was unavailable or full."""

    call: str
    why: str


Entry: TypeAlias = Called | Taken | AlreadyApplied | ServiceRefused

_CODEC: Codec[Entry] = Codec.of(Entry, what="entry of a journal")


class Journal:
    """An append-only file of entries. Appended entries survive the death of the process."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = open_private(path, os.O_WRONLY | os.O_APPEND)

    def append(self, entry: Entry) -> None:
        """Append one entry in one write, so that a kill cannot leave a part of it."""
        os.write(self._file, _CODEC.encode(entry) + b"\n")


@attrs.define
class JournalReader:
    """Reads a journal that is still being written.

    Attributes:
        path: the file, which need not exist yet.
    """

    path: str
    _offset: int = 0

    def new_entries(self) -> Iterator[Entry]:
        """Yield the entries since the last call."""
        try:
            with open(self.path, "rb") as file:  # noqa: PTH123 - read repeatedly, from an offset
                file.seek(self._offset)
                lines = file.readlines()
        except FileNotFoundError:
            return
        for line in lines:
            if line.endswith(b"\n"):
                self._offset += len(line)
                yield _CODEC.decode(line)
