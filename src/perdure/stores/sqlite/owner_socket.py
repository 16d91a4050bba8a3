"""The Unix socket of the engine that owns a file: its path, beside the file, and a short path to reach it by.

Server and clients compute the path from that of the file alone, so they need no further setting.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

MAX_SOCKET_PATH_BYTES: Final = 103
"""The longest path of a socket that every system accepts: Linux takes 107 bytes, macOS 103."""

_MAX_NAME_BYTES: Final = 80
_DESCRIPTORS: Final = "/proc/self/fd"


def owner_socket(file: str | os.PathLike[str]) -> str:
    """Return the path of the socket of a file's owner: ``jobs.db.sock`` beside ``jobs.db``, links resolved.

    If that name is longer than 80 bytes, it is ``perdure-<hash of the name>.sock``.

    Args:
        file: the path of the database file, which need not exist.
    """
    folder, name = os.path.split(os.path.realpath(file))
    own = f"{name}.sock"
    if len(os.fsencode(own)) > _MAX_NAME_BYTES:
        own = f"perdure-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}.sock"
    return str(Path(folder) / own)


@contextmanager
def short_path(path: str) -> Generator[str]:
    """Yield a path of the same socket that is short enough to bind or to connect to, valid within the block.

    A socket in a deep folder is reached through a descriptor of the folder in ``/proc``, or else through a link in a
    private folder for temporary files.

    Args:
        path: the path of the socket; its last part has at most 80 bytes.

    Raises:
        OSError: its folder does not exist or cannot be searched.
    """
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
        yield path
    elif Path(_DESCRIPTORS).is_dir():
        with _through_descriptor(path) as short:
            yield short
    else:
        with _through_link(path) as short:
            yield short


@contextmanager
def _through_descriptor(path: str) -> Generator[str]:
    folder, name = os.path.split(path)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"{_DESCRIPTORS}/{descriptor}/{name}"
    finally:
        os.close(descriptor)


@contextmanager
def _through_link(path: str) -> Generator[str]:
    folder, name = os.path.split(path)
    with tempfile.TemporaryDirectory(prefix="perdure-") as private:
        link = Path(private) / "d"
        link.symlink_to(folder, target_is_directory=True)
        yield str(link / name)
