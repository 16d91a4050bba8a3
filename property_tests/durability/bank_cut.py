"""Power is cut while the whole library is at work: the bank, its clients and its outside, on a disk that forgets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
from audit import stored_in
from bank import PULSE, Beats, Happened, Step, bank, pulse, steps_of
from clients import LOOK_MS, client, quiet
from disk import Entry, Mercy, surviving, write_image
from recording import Chosen, open_recorded
from returns.result import Result, Success
from sick_disk import Illness, SickDisk

from perdure.client.client import Client
from perdure.client.local_gateway import engine_of
from perdure.runtime.record import DEFAULT_SIZES, Sizes
from perdure.runtime.simulated import Simulation
from perdure.stores.sqlite import open_sqlite
from perdure.values.errors import OutcomeUnknown, StoreError

FILE = "jobs.db"
CLIENTS = tuple(f"client-{number}" for number in range(4))
PASSING = (StoreError, OutcomeUnknown)
"""The errors of clients while the disk fails: they repeat the step, with their keys."""
POWER_IS_BACK = datetime(2026, 1, 1, 1, tzinfo=UTC)  # while idempotency keys are still remembered


@attrs.define
class Witness:
    """Notes each external call, and after how many entries of the disk's log.

    Attributes:
        log: of the disk.
        happened: what reached outside.
        asked: the newest step that each client sent, and when.
        acknowledged: each step that was acknowledged, and when.
    """

    log: list[Entry]
    happened: list[tuple[int, Happened]] = attrs.Factory(list[tuple[int, Happened]])
    acknowledged: list[tuple[int, Step]] = attrs.Factory(list[tuple[int, Step]])

    def note(self, happened: Happened) -> Result[None, Any]:
        """Let it happen."""
        self.happened.append((len(self.log), happened))
        return Success(None)

    def answered(self, step: Step) -> None:
        """Note that a step was acknowledged."""
        self.acknowledged.append((len(self.log), step))


@attrs.frozen(kw_only=True)
class BankRecording:
    """A day at the bank.

    Attributes:
        log: everything that was done to the disk.
        happened: what reached outside, and when.
        acknowledged: the acknowledged steps, and when.
    """

    log: tuple[Entry, ...]
    happened: tuple[tuple[int, Happened], ...]
    acknowledged: tuple[tuple[int, Step], ...]

    def steps(self, cut: int) -> dict[str, int]:
        """Return the newest step of each client that had been acknowledged before a cut."""
        newest = dict.fromkeys(CLIENTS, 0)
        return newest | {step.client: step.number for place, step in self.acknowledged if place <= cut}

    def seen(self, cut: int) -> list[Happened]:
        """Return the external calls so far."""
        return [happened for place, happened in self.happened if place <= cut]


def record_bank(
    folder: Path,
    *,
    durability: Chosen,
    checkpoint_pages: int,
    steps: int,
    seed: int = 0,
    illness: Illness | None = None,
    sizes: Sizes = DEFAULT_SIZES,
) -> BankRecording:
    """Let every client take a number of steps, on a disk that may fail meanwhile, and keep the log of the disk."""
    recorder = SickDisk(f"bank-{folder}")
    simulation = Simulation(seed=seed)
    runtime = attrs.evolve(simulation.runtime, sizes=sizes)
    witness = Witness(recorder.log)

    async def day() -> None:
        store = await open_recorded(
            folder / FILE,
            recorder,
            durability=durability,
            checkpoint_pages=checkpoint_pages,
            runtime=runtime,
        )
        async with bank(witness).open(store, runtime=runtime) as jobs:
            recorder.fall_ill(illness)
            await _busy(jobs, witness, dict.fromkeys(CLIENTS, 0), steps)

    simulation.run(day())
    simulation.close()
    recorder.unregister()
    return BankRecording(
        log=tuple(recorder.log), happened=tuple(witness.happened), acknowledged=tuple(witness.acknowledged)
    )


@attrs.frozen(kw_only=True)
class Aftermath:
    """The state after power came back and all work has ended.

    Attributes:
        acknowledged: the newest step of each client that was acknowledged, before the cut or after.
        stored: the content of the file.
        happened: what reached outside, before the cut and after.
    """

    acknowledged: Mapping[str, int]
    stored: Any
    happened: list[Happened]


def power_comes_back(recording: BankRecording, cut: int, mercy: Mercy, folder: Path, *, more: int) -> Aftermath:
    """Cut the power, open the surviving files, and let each client continue: with its unanswered step, and some more.

    Args:
        recording: the day before.
        cut: where in its log.
        mercy: the part kept of unsynced writes.
        folder: where the files go.
        more: how many steps each client takes; 0: none comes back, and only the remaining work ends.
    """
    write_image(surviving(recording.log[:cut], mercy), folder)
    simulation = Simulation(seed=cut, start=POWER_IS_BACK)
    witness = Witness([])
    acknowledged = recording.steps(cut)

    async def day() -> None:
        async with bank(witness).open(
            await open_sqlite(folder / FILE, durability="relaxed", runtime=simulation.runtime),
            runtime=simulation.runtime,
        ) as jobs:
            await _busy(jobs, witness, acknowledged, more)

    asyncio.run(simulation.run_hosted(day()))
    simulation.close()
    return Aftermath(
        acknowledged=acknowledged | {step.client: step.number for _, step in witness.acknowledged},
        stored=stored_in(folder / FILE, simulation.now_ms),
        happened=[*recording.seen(cut), *(happened for _, happened in witness.happened)],
    )


async def _busy(jobs: Client, witness: Witness, after: Mapping[str, int], more: int) -> None:
    runtime = engine_of(jobs).runtime
    await _started(jobs)
    tasks = [
        runtime.spawn(client(jobs, steps_of(name, done, done + more), witness.answered, PASSING), name=name)
        for name, done in after.items()
    ]
    for task in tasks:
        await task
    await quiet(jobs)


async def _started(jobs: Client) -> None:
    while True:
        with suppress(*PASSING):
            await jobs.handle(pulse).start(PULSE, Beats(), wait_for="start")
            return
        await engine_of(jobs).runtime.sleep(LOOK_MS)
