"""Alarms: all due at once, and at a steady rate. Each is a claim, a run with one service call, and a commit."""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext

from measured.cpu import CpuTime
from measured.figures import Spread
from measured.filled import SEED, fill
from measured.reminders import Journal, Noted, reminders

from before_after.turn import Figures, Rounds, Turn
from perdure import App
from perdure.client.client import Client

FLOOD = 4_000
HEAD_START_MS = 1_500
LAST_COMMITS_S = 0.1


def at_once(turn: Turn) -> Figures:
    """Let alarms be due at one instant: the CPU of each, and how many fire in a second."""
    rounds = Rounds()
    for number in range(max(2, turn.rounds // 3)):
        fired(turn, f"flood-{turn.offset}-{number}", FLOOD, per_second=0, rounds=rounds)
    uncounted = Rounds()
    fired(turn, f"flood-{turn.offset}-counted", FLOOD, per_second=0, rounds=uncounted, counted=rounds)
    return rounds.figures


def steady(turn: Turn, per_second: int) -> Figures:
    """Let alarms be due at a steady rate: the CPU of each, and how late they are."""
    rounds = Rounds()
    fired(turn, f"steady-{turn.offset}", int(per_second * turn.seconds), per_second=per_second, rounds=rounds)
    return rounds.figures


def fired(
    turn: Turn, name: str, alarms: int, *, per_second: int, rounds: Rounds, counted: Rounds | None = None
) -> None:
    """Fill a file, open it, and wait until all alarms have fired."""
    path, journal = turn.folder / f"{name}.db", Journal()
    start_ms = time.time_ns() // 1_000_000 + HEAD_START_MS + alarms // 50
    after = f"n * 1000 / {per_second}" if per_second else "0"
    app = App(journal).with_jobs(reminders)

    async def seed(client: Client) -> None:
        await client.handle(reminders).send(SEED, Noted("hello"))

    due = f"{start_ms} + {after}"
    fill(path, alarms, app=app, seed=seed, changes={"alarm_ms": due, "due_ms": due, "status": "'scheduled'"})

    async def measure() -> CpuTime:
        async with app.open(f"sqlite:///{path}", debug=False):
            await asyncio.sleep(start_ms / 1e3 - time.time())
            before = CpuTime.now()
            with nullcontext() if counted is None else counted.calls(alarms):
                while len(journal.began) < alarms:  # noqa: ASYNC110 - an event would cost each run a call
                    await asyncio.sleep(0.02)
                await asyncio.sleep(LAST_COMMITS_S)
            return CpuTime.now().since(before)

    rounds.used(asyncio.run(measure()), alarms)
    last_s = journal.began[-1][1] / 1e9 - start_ms / 1e3
    rounds.add(rate=alarms / last_s)
    if per_second:
        late = Spread.of(
            at / 1e9 - start_ms / 1e3 - int(id_[3:]) * 1000 // per_second / 1e3 for id_, at in journal.began
        )
        rounds.add(p50_ms=late.p50_ms, p99_ms=late.p99_ms)
