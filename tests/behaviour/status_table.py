"""The tables of ``docs/reference/status-<kind>.md``, read as promises."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
from returns.result import Failure, Result
from world import World

from perdure.jobs.call import Call
from perdure.values.answer import Added, Cleared, PauseResult, Sent, Terminated
from perdure.values.outcome import Flushed, Started, Triggered
from perdure.values.status import InstanceStatus

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


@attrs.frozen(kw_only=True)
class Cell:
    """One promise: the answer of a request in a status, and the next status."""

    request: str
    status: str
    when: Literal["at_once", "waits"]
    answer: str
    after: str

    def __str__(self) -> str:
        return f"{self.request} when {self.status}"


def cells(kind: str) -> list[Cell]:
    """Read the table of a kind."""
    lines = (REFERENCE / f"status-{kind}.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    (_, *statuses), _, *requests = rows
    return [
        _cell(request, status, text)
        for request, *texts in requests
        for status, text in zip(statuses, texts, strict=True)
    ]


def _cell(request: str, status: str, text: str) -> Cell:
    when: Literal["at_once", "waits"] = "waits" if text.startswith("waits, ") else "at_once"
    answer, _, after = (part.strip().strip("`") for part in text.removeprefix("waits, ").partition("→"))
    after = after or status  # a cell leaves out a status that stays
    return Cell(request=request.replace("`", ""), status=status, when=when, answer=answer, after=after)


def word(answer: Result[Any, Any]) -> str:
    """Name an answer the way the tables do."""
    if isinstance(answer, Failure):
        return type(answer.failure()).__name__
    value = answer.unwrap()
    name = _WORDS.get(type(value))
    return "state" if name is None else name(value)


def _run(outcome: object, otherwise: str) -> str:
    return otherwise if outcome is None else type(outcome).__name__.lower()


_WORDS: Mapping[type, Callable[[Any], str]] = {
    type(None): lambda _: "None",
    Started: lambda answer: "created" if answer.created else "exists",
    Added: lambda answer: "created" if answer.created else "added",
    Sent: lambda answer: "created" if answer.created else "handled",
    Triggered: lambda answer: _run(answer.outcome, "nothing"),
    Flushed: lambda answer: _run(answer.outcome, "empty"),
    Cleared: lambda answer: f"cleared {answer.discarded}",
    Terminated: lambda answer: "terminated" if answer.terminated else "not_found",
    PauseResult: lambda answer: "changed" if answer.changed else "unchanged",
    InstanceStatus: lambda answer: answer.status,
}


@attrs.frozen(kw_only=True)
class Bench:
    """Where the cells of one kind are tried.

    Attributes:
        arrange: brings instance ``"a"`` into each status.
        requests: makes each call for instance ``"a"``.
        release: lets a run in progress continue.
        ran: how often the job's ``execute`` ran so far.
        until_due: lets the alarm of instance ``"a"`` come.
    """

    arrange: Mapping[str, Callable[[World], Awaitable[None]]]
    requests: Mapping[str, Callable[[World], Call[Any, Any]]]
    status: Callable[[World], Call[InstanceStatus, Any]]
    release: Callable[[World], None]
    ran: Callable[[World], int]
    until_due: Callable[[World], Awaitable[None]]


async def hold_to(cell: Cell, world: World, bench: Bench) -> None:
    """Try a cell."""
    await bench.arrange[cell.status](world)
    assert await _status(world, bench) == cell.status
    if cell.request == "its alarm is due":
        ran = bench.ran(world)
        await bench.until_due(world)
        answer = "completed" if bench.ran(world) > ran else "silence"
    else:
        answer = await _answer(cell, world, bench)
    assert (answer, await _status(world, bench)) == (cell.answer, cell.after)


async def _answer(cell: Cell, world: World, bench: Bench) -> str:
    call = world.start(bench.requests[cell.request](world))
    await world.settle()
    assert call.done() == (cell.when == "at_once")
    if cell.when == "waits":
        bench.release(world)
        await world.settle()
    return word(call.result())


async def _status(world: World, bench: Bench) -> str:
    status = (await world.run(bench.status(world))).status
    return "absent" if status == "not_found" else status
