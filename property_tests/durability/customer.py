"""A client in a process of its own, which outlives the tellers: one request after the other, over a socket.

``python customer.py WINDOW NAME ASKS JOURNAL``. It writes ``asked NUMBER`` into its journal, asks for that step, and
writes ``done NUMBER`` when it is answered. When the connection breaks instead, it connects to the next teller: a
customer that asks ``until_answered`` repeats the step, one that asks ``once`` continues with the next. It writes a byte
to its standard output for each answer, and ends after the answer that follows a SIGTERM.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator

PAUSE_S = 0.005


class Refused(Exception):
    """The teller answered, and not that it is done."""


class Journal:
    """The journal of this customer. A line is one write to the end of a file."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def note(self, word: str, number: int) -> None:
        """Append a line."""
        os.write(self._file, f"{word} {number}\n".encode())


def connected(window: str) -> socket.socket:
    """Connect to the server at the window; wait while there is none."""
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(window)
        except OSError:
            connection.close()
            time.sleep(PAUSE_S)
        else:
            return connection


class Window:
    """The tellers, one after the other."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: socket.socket | None = None

    def ask(self, name: str, number: int) -> bool:
        """Ask for a step, and return whether it was answered; if not, the teller is gone.

        Raises:
            Refused: it is not done.
        """
        if self._connection is None:
            self._connection = connected(self._path)
        try:
            self._connection.sendall(f"{name} {number}\n".encode())
            answer = self._line(self._connection)
        except OSError:
            answer = ""
        if not answer.endswith("\n"):
            self._connection.close()
            self._connection = None
            return False
        if answer != f"{number}\n":
            raise Refused(answer)
        return True

    @staticmethod
    def _line(connection: socket.socket) -> str:
        answer = b""
        while not answer.endswith(b"\n"):
            piece = connection.recv(4_096)
            if not piece:
                break
            answer += piece
        return answer.decode()


def requests(name: str, asks: str, window: Window, journal: Journal) -> Iterator[None]:
    """Take one step after the other, and stop after each answer."""
    number = 1
    while True:
        journal.note("asked", number)
        while not (answered := window.ask(name, number)) and asks == "until_answered":
            pass
        if answered:
            journal.note("done", number)
            yield
        number += 1


def main(window: str, name: str, asks: str, journal: str) -> None:
    """Send steps until a SIGTERM arrives."""
    signals: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
    for _ in requests(name, asks, Window(window), Journal(journal)):
        os.write(sys.stdout.fileno(), b".")
        if signals:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
