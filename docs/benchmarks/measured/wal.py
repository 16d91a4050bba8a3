"""What a write-ahead log says of the transactions in it."""

from __future__ import annotations

import struct
from pathlib import Path

from attrs import frozen

_HEADER, _FRAME_HEADER = 32, 24


@frozen
class WalContents:
    """What a log holds since it was last begun anew.

    Attributes:
        transactions: committed ones.
        pages: written by them.
        size_bytes: of these pages with their headers.
    """

    transactions: int
    pages: int
    size_bytes: int


def wal_contents(database: Path) -> WalContents:
    """Read the log beside a database: a frame that ends a transaction says how large the database is after it.

    See https://sqlite.org/fileformat2.html#the_write_ahead_log. The log must not have been begun anew meanwhile.
    """
    log = database.with_name(database.name + "-wal").read_bytes()
    page_size, salt = struct.unpack(">I", log[8:12])[0], log[16:24]
    frame_size = _FRAME_HEADER + page_size
    transactions = pages = 0
    for start in range(_HEADER, len(log) - frame_size + 1, frame_size):
        if log[start + 8 : start + 16] != salt:
            break
        pages += 1
        transactions += struct.unpack(">I", log[start + 4 : start + 8])[0] != 0
    return WalContents(transactions, pages, pages * frame_size)
