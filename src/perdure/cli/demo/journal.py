"""What a service of the demo wrote down: an append-only file beside the store, the evidence of the proof."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TypeAlias

import attrs

from perdure.codecs import Codec


@attrs.frozen
class Called:
    """A call came in."""

    call: str


@attrs.frozen
class Taken:
    """The call was carried out: this is what the service now has."""

    call: str
    items: tuple[str, ...]


@attrs.frozen
class AlreadyApplied:
    """The call was carried out before; nothing was done again."""

    call: str


@attrs.frozen
class ServiceRefused:
    """The service was down or full."""

    call: str
    why: str


Entry: TypeAlias = Called | Taken | AlreadyApplied | ServiceRefused

_CODEC: Codec[Entry] = Codec.of(Entry, what="entry of a journal")


class Journal:
    """An append-only file of entries. What was appended survives the death of the process that did it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def append(self, entry: Entry) -> None:
        """Append one entry in one write: the process is killed before it or after it, not in it."""
        os.write(self._file, _CODEC.encode(entry) + b"\n")


@attrs.define
class JournalReader:
    """Reads a journal that is still being written.

    Attributes:
        path: the file; it need not be there yet.
    """

    path: str
    _offset: int = 0

    def new_entries(self) -> Iterator[Entry]:
        """Give the entries since the last time."""
        try:
            with open(self.path, "rb") as file:  # noqa: PTH123 - read again and again, from a place
                file.seek(self._offset)
                lines = file.readlines()
        except FileNotFoundError:
            return
        for line in lines:
            if line.endswith(b"\n"):
                self._offset += len(line)
                yield _CODEC.decode(line)
