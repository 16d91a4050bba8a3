"""Tables on a terminal: coloured unless NO_COLOR is set, and never written to by a stored text."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from operated import open_terminal, serving, write_store


def on_a_terminal(*arguments: str, typed: str = "", **environment: str) -> str:
    """Run a command on a terminal of 80 columns, type a text, and return the output."""
    ours, theirs = open_terminal()
    given = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLORTERM")}
    with subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "perdure", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**given, "TERM": "xterm", "COLUMNS": "80", **environment},
    ):
        os.close(theirs)
        os.write(ours, typed.encode())
        written = b""
        while block := _read(ours):
            written += block
    os.close(ours)
    return written.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # of Linux, when the other end is closed
        return b""


@pytest.mark.parametrize(("setting", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_has_colours_unless_the_user_wants_none(
    tmp_path: Path, setting: dict[str, str], *, is_coloured: bool
) -> None:
    url = write_store(tmp_path / "jobs.db")
    printed = on_a_terminal("list", "--store", url, "--status", "parked", **setting)
    assert "task:order:p-1" in printed
    assert ("\x1b[1;31mparked" in printed) == is_coloured


def test_a_change_waits_for_the_answer_of_the_user(tmp_path: Path) -> None:
    write_store(tmp_path / "jobs.db")
    with serving(tmp_path / "jobs.db") as named:
        terminate = ["terminate", "task:order:o-1", *named["store"]]
        printed = on_a_terminal(*terminate, typed="n\n")
        assert "terminate task:order:o-1? [y/N]" in printed
        assert "nothing changed" in printed
        assert "terminated true" in on_a_terminal(*terminate, typed="y\n")
