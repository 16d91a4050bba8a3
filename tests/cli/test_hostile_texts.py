"""No stored text writes to the terminal: it comes from anywhere, and could hold terminal codes or forge a line."""

import asyncio
from contextlib import chdir
from pathlib import Path

import attrs
import pytest

from perdure.cli.commands import run_command
from perdure.stores.contract import commit_one
from perdure.stores.sqlite import open_sqlite
from perdure.testing.conformance.assertions import value
from perdure.testing.conformance.histories import address, message, put, remembered
from perdure.values.transition import Transition

HOSTILE = "\x1b[31m\nPROBLEM: forged\r\x9b\u202e"


def test_no_stored_text_writes_to_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The ids, the names of jobs, keys and errors of a store come from anywhere."""

    async def main() -> None:
        store = await open_sqlite(tmp_path / "jobs.db")
        at = attrs.evolve(address(HOSTILE), name=HOSTILE)
        await value(commit_one(store, put(at, alarm_ms=5, state="{")))
        sent, key = (message(at, at, "{"),), remembered(HOSTILE, "{")
        await value(commit_one(store, Transition(address=at, messages=sent, remember=(key,))))
        await value(store.close())

    asyncio.run(main())
    (tmp_path / "hostile_app.py").write_text("from perdure import App\napp = App(None)\n")
    with chdir(tmp_path):
        for command in (["check", "hostile_app:app"], ["verify"], ["stats"]):
            run_command([*command, "--store", "sqlite:///jobs.db"])
            printed = capsys.readouterr().out
            assert all(line.isprintable() for line in printed.split("\n"))
            assert not any(line.startswith("PROBLEM: forged") for line in printed.splitlines())
            assert "\\x1b[31m\\nPROBLEM: forged" in printed
        for command in (["list"], ["show", f"task:{HOSTILE}:{HOSTILE}", "--no-state"], ["list", "--json"]):
            run_command([*command, "--store", "sqlite:///jobs.db"])
            printed = capsys.readouterr().out
            assert printed.strip()
            assert all(line.isprintable() for line in printed.split("\n"))
            assert not any(line.startswith("PROBLEM: forged") for line in printed.splitlines())
        run_command(["check", f"{HOSTILE}:app", "--store", "sqlite:///jobs.db"])
        assert all(line.isprintable() for line in capsys.readouterr().err.split("\n"))
