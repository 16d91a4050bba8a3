"""The users of the bank: clients that send one step after the other, and a function that waits until all is at rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bank import Step, account, ledger, mailbag, pulse, take_step

from perdure.client.client import Client
from perdure.client.local_gateway import engine_of
from perdure.programs.container import result_inside
from perdure.values.errors import InstanceParked

FAR_MS = 2**50
LOOK_MS = 10
PATIENCE = 2_000  # looks


async def client(
    jobs: Client,
    steps: Iterable[Step],
    acknowledged: Callable[[Step], None],
    repeats: tuple[type[Exception], ...] = (),
) -> None:
    """Take one step after the other, and say of each that it was acknowledged.

    Args:
        jobs: the client of the engine.
        steps: what for.
        acknowledged: called with each step.
        repeats: the errors after which a step is repeated, a little later; others end the client.
    """
    for step in steps:
        while True:
            try:
                await take_step(jobs, step)
                break
            except InstanceParked:
                await resume_parked(jobs)
            except repeats:
                await engine_of(jobs).runtime.sleep(LOOK_MS)
        acknowledged(step)


async def resume_parked(jobs: Client) -> None:
    """Resume the instances that were parked because three processes in a row died in the middle of it."""
    for job in (account, ledger, mailbag, pulse):
        for listed in await jobs.list(job, status="parked"):
            await jobs.handle(job).resume(listed.address.id)


async def quiet(jobs: Client) -> None:
    """Wait until no run, no alarm and no message is left, but for the pulse.

    Runs set alarms and send messages, and alarms begin runs; messages do neither. So they are inspected in this
    order.

    Raises:
        TimeoutError: something never comes to an end.
    """
    store = engine_of(jobs).store
    for _ in range(PATIENCE):
        await resume_parked(jobs)
        claimed = result_inside(await store.claimed(0, 100)).unwrap()
        waiting = result_inside(await store.due(FAR_MS, 100)).unwrap()
        messages = result_inside(await store.messages(FAR_MS, 1)).unwrap()
        if not messages and all(instance.address.name == "pulse" for instance in (*claimed, *waiting)):
            return
        await engine_of(jobs).runtime.sleep(LOOK_MS)
    raise TimeoutError(f"still there: {claimed} {waiting} {messages}")
