"""Each number of the command line has a row in the table, and each row holds at its ends and one beyond."""

from __future__ import annotations

import asyncio
from contextlib import chdir
from pathlib import Path

import pytest
from command_line import NO_RANGE, RANGES, Numbers
from cyclopts import App as CommandLine

from perdure import App, Task
from perdure.cli.commands import COMMANDS, run_command

counter = Task("counter", state=int, event=int, initial=0, on_event=lambda ctx, event: ctx.set_state(event))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file that has one task."""
    made = tmp_path_factory.mktemp("stores")

    async def send() -> None:
        async with App(None).with_jobs(counter).open(f"sqlite:///{made}/jobs.db") as jobs:
            await jobs.handle(counter).send("a", 1)

    asyncio.run(send())
    return made


def numbers() -> set[str]:
    """Return the arguments of all commands that take a number."""
    found: set[str] = set()
    for name, command in COMMANDS.items():
        line = CommandLine(name=name)
        line.default(command.load())
        arguments = line.assemble_argument_collection()
        found |= {f"{name} {one.name}" for one in arguments if {"int", "float"} & set(_words(str(one.hint)))}
    return found


def _words(hint: str) -> list[str]:
    return hint.replace("'", " ").replace("[", " ").replace(",", " ").split()


def test_each_number_has_a_row_or_a_reason_why_it_has_no_range() -> None:
    assert {one.name for one in RANGES} | set(NO_RANGE) == numbers()
    assert not {one.name for one in RANGES} & set(NO_RANGE)


@pytest.mark.parametrize(("one", "value"), [(one, value) for one in RANGES for value in one.refused], ids=str)
def test_a_number_beyond_its_range_is_refused(
    one: Numbers, value: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with chdir(folder):
        assert run_command([*one.command.split(), one.option, value]) == 2
    said = capsys.readouterr().err
    assert f"{one.option} {value}" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(("one", "value"), [(one, value) for one in RANGES for value in one.valid], ids=str)
def test_a_number_at_the_end_of_its_range_is_accepted(one: Numbers, value: str, folder: Path) -> None:
    with chdir(folder):
        for made in ("rows", "copy.db"):
            (folder / made).unlink(missing_ok=True)
        assert run_command([*one.command.split(), one.option, value]) == 0
