"""Trials: another program copies a backup over a file that an engine serves, or truncates it, while callers commit."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Literal, TypeAlias

import attrs
from returns.result import Success

from perdure.stores.contract import Store, commit_one
from perdure.stores.sqlite import open_sqlite
from perdure.testing.conformance.assertions import answer, value
from perdure.testing.conformance.histories import address, put
from perdure.values.instance import Fence
from perdure.values.transition import Transition

Mishap: TypeAlias = Literal["copied over", "truncated"]

COMMANDS: Mapping[Mishap, str] = {"copied over": "cp backup.db jobs.db", "truncated": ": > jobs.db"}
ROWS = 60
PATIENCE = 400
"""Commits after the copy, acknowledged, from which on it counts as not noticed."""

LATEST = 500
"""Commits before the copy, at most: enough for several checkpoints."""


@attrs.frozen(kw_only=True)
class Trial:
    """How one engine met it.

    Attributes:
        is_noticed: whether the store reported that it had lost its file.
        acknowledged_after: commits that began after the copy was complete, and were acknowledged.
        reason: why the store stopped.
    """

    is_noticed: bool
    acknowledged_after: int
    reason: str


def trial(folder: Path, mishap: Mishap, *, callers: int, seed: int) -> Trial:
    """Let callers commit, and copy over the file at a drawn moment.

    Args:
        folder: an empty folder for the files.
        mishap: the change that the other program makes to the file.
        callers: how many callers commit at the same time.
        seed: of the moment.
    """
    found = asyncio.run(_trial(folder, mishap, callers, Random(seed)))  # noqa: S311 - reproducible on purpose
    if mishap == "copied over" and "during a checkpoint" not in found.reason:
        same = (folder / "jobs.db").read_bytes() == (folder / "backup.db").read_bytes()
        assert same, "the engine wrote into the backup"
    return found


async def _trial(folder: Path, mishap: Mishap, callers: int, random: Random) -> Trial:
    store = await open_sqlite(folder / "jobs.db")
    await asyncio.gather(*(value(commit_one(store, _put(number, None, random))) for number in range(ROWS)))
    await value(store.backup.make(folder / "backup.db", lambda _: None))
    work = _Work(store, random, before=random.randrange(LATEST))
    working = [asyncio.ensure_future(work.caller(number)) for number in range(callers)]
    await work.is_due.wait()
    await asyncio.to_thread(subprocess.run, COMMANDS[mishap], shell=True, cwd=folder, check=True)  # noqa: S604
    work.is_over = True
    await asyncio.gather(*working)
    lost = store.lost.result() if store.lost.done() else ""
    await value(store.close())
    return Trial(is_noticed=bool(lost), acknowledged_after=work.acknowledged_after, reason=lost)


@attrs.define
class _Work:
    """The state that the callers share."""

    store: Store
    random: Random
    before: int = attrs.field(kw_only=True)
    is_due: asyncio.Event = attrs.Factory(asyncio.Event)
    is_over: bool = False
    acknowledged: int = 0
    acknowledged_after: int = 0

    async def caller(self, number: int) -> None:
        """Commit until the store refuses, or patience ends."""
        fences: dict[int, Fence | None] = {row: Fence(row + 1, 1) for row in range(number, ROWS, 8)}
        while self.acknowledged_after < PATIENCE:
            row = self.random.choice(tuple(fences))
            began_after = self.is_over
            found = await answer(commit_one(self.store, _put(row, fences[row], self.random)))
            if not isinstance(found, Success):
                return
            fences[row] = found.unwrap()
            self.acknowledged += 1
            self.acknowledged_after += began_after
            if self.acknowledged >= self.before:
                self.is_due.set()


def _put(row: int, fence: Fence | None, random: Random) -> Transition:
    return put(address(str(row)), fence, state=f'"{random.randbytes(random.choice((50, 3_000, 9_000))).hex()}"')
