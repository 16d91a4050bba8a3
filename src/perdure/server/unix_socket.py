"""Unix sockets that listen on a path: private from the first moment, and never in the place of a live one."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from perdure.stores.sqlite.files import short_path
from perdure.values.errors import ListenFailed

PRIVATE = 0o600


@contextmanager
def unix_socket(path: str, *, backlog: int) -> Generator[socket.socket]:
    """Yield a socket that listens on a path, with mode 0600. At the end of the block, the path is removed.

    It is bound in a private folder and renamed when it listens: nobody else can connect meanwhile, and a client
    finds the old socket or the new one. A socket that a process left when it died is replaced.

    Args:
        path: the path; it need not be short.
        backlog: connections that wait to be accepted.

    Raises:
        ListenFailed: a process listens on that path, it is no socket, or its folder cannot be written to.
    """
    owner = os.getpid()
    path = str(Path(path).absolute())  # of this moment's working directory
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            _refuse_a_live_one(path)
            identity = _bind(listener, path, backlog)
        except OSError as error:
            raise ListenFailed(f"unix:{path}", error.strerror or str(error)) from error
        try:
            yield listener
        finally:
            if os.getpid() == owner:  # and not in a forked child
                _remove(path, identity)
    finally:
        listener.close()


def _bind(listener: socket.socket, path: str, backlog: int) -> tuple[int, int]:
    """Bind, listen, and move the socket to its path. Return its device and inode."""
    private = tempfile.mkdtemp(prefix=".perdure-", dir=Path(path).parent)  # mode 0700
    hidden = str(Path(private) / "s")
    try:
        with short_path(hidden) as short:
            listener.bind(short)
        Path(hidden).chmod(PRIVATE)
        listener.listen(backlog)
        status = os.lstat(hidden)
        Path(hidden).rename(path)
    except BaseException:
        with suppress(OSError):
            Path(hidden).unlink()
        raise
    finally:
        Path(private).rmdir()
    return status.st_dev, status.st_ino


def _refuse_a_live_one(path: str) -> None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise ListenFailed(f"unix:{path}", "that path is no socket; move it, or choose another path")
    if is_live(path):
        raise ListenFailed(f"unix:{path}", "a process listens there; stop it, or choose another path")


def is_live(path: str) -> bool:
    """Return whether a process listens on a path. Its backlog may be full.

    Raises:
        OSError: the path cannot be searched, or belongs to another user.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, short_path(path) as short:
        probe.settimeout(0)
        try:
            probe.connect(short)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except BlockingIOError:
            return True
    return True


def _remove(path: str, identity: tuple[int, int]) -> None:
    """Remove the path if it is still ours: another process may have replaced it."""
    with suppress(OSError):
        status = os.lstat(path)
        if (status.st_dev, status.st_ino) == identity:
            Path(path).unlink()
