"""Requests: hot, cold, to one instance, in memory, and to large states."""

from __future__ import annotations

import asyncio

from attrs import evolve, frozen
from measured.filled import fill
from measured.orders import Added, Order, orders
from measured.raw_loop import STRIDE, raw_loop
from measured.wal import wal_contents
from returns.result import Result, Success

from before_after.turn import Figures, Rounds, Turn
from perdure import App, Decision, Task
from perdure.stores.memory import MemoryBackend

HOT = 10_000
STATES, IN_MEMORY = 300, 1_000
EVENT = Added(199)
FEW, MANY = 300, 1_000
"""The calls of a round, of one client and of several."""

RAW_SECONDS, ROUND_SECONDS = 0.1, 0.3


def calls_of(clients: int) -> int:
    """Return the number of calls of a round."""
    return FEW if clients == 1 else max(MANY, 4 * clients)


def requests(turn: Turn, clients: int, instances: int) -> Figures:
    """Send an effect-free event to any of the instances of a file; then let the bare loop write the same rows."""
    path, rounds = turn.folder / f"{instances}.db", Rounds()
    if not path.exists():
        fill(path, instances)

    async def measure() -> float:
        async with App(None).with_jobs(orders).open(f"sqlite:///{path}", debug=False) as client:
            handle, first = client.handle(orders), turn.offset

            async def call(number: int) -> None:
                await handle.send(f"id-{(first + number) * STRIDE % instances}", EVENT)

            warm_up = Rounds()
            await warm_up.of_clients(call, clients=clients, calls=600)  # the log begins again after 1,000 pages
            group = 600 / wal_contents(path).transactions
            if instances == HOT:
                await warm_up.of_clients(call, clients=512, calls=HOT)
            for _ in range(turn.rounds):
                first += calls_of(clients)
                await rounds.of_clients(call, clients=clients, calls=calls_of(clients))
            first += calls_of(clients)
            await rounds.counted(call, clients=clients, calls=calls_of(clients))
        return group

    group = asyncio.run(measure())
    rounds.add(group=group)
    for _ in range(turn.rounds):
        bare = raw_loop(path, group=max(1, round(group)), durability="full", seconds=RAW_SECONDS)
        rounds.add(bare_us=bare.cpu_us, bare_rate=bare.rate)
    return rounds.figures


def one_instance(turn: Turn, clients: int) -> Figures:
    """Send events to one instance."""
    return to_a_new_store(turn, f"sqlite:///{turn.folder}/one-{turn.offset}.db", clients, instances=1)


def in_memory(turn: Turn, clients: int) -> Figures:
    """Send events to the instances of a store in memory."""
    return to_a_new_store(turn, "memory", clients, instances=IN_MEMORY)


def to_a_new_store(turn: Turn, url: str, clients: int, instances: int) -> Figures:
    """Send events to instances of a new store, in rounds of at most a third of a second."""
    rounds = Rounds()

    async def measure() -> None:
        store = MemoryBackend().open() if url == "memory" else url
        async with App(None).with_jobs(orders).open(store, debug=False) as client:
            handle = client.handle(orders)

            async def call(number: int) -> None:
                await handle.send(f"id-{number % instances}", EVENT)

            warm_up = Rounds()
            await warm_up.of_clients(call, clients=clients, calls=instances + FEW)
            calls = min(3 * MANY, max(FEW, int(warm_up.figures["rate"][0] * ROUND_SECONDS)))
            for _ in range(turn.rounds):
                await rounds.of_clients(call, clients=clients, calls=calls)
            await rounds.counted(call, clients=clients, calls=calls)

    asyncio.run(measure())
    return rounds.figures


# ---------------------------------------------------------------- large states
@frozen
class Orders:
    """A state of nested records."""

    orders: tuple[Order, ...] = ()


def decide(state: Orders, event: Added) -> Result[Decision[Orders], str]:
    """Change the first order."""
    first, *others = state.orders
    changed = evolve(first, items=first.items + 1, total_cents=first.total_cents + event.cents)
    return Success(Decision(evolve(state, orders=(changed, *others))))


def large_states(turn: Turn, kilobytes: int) -> Figures:
    """Let 64 clients change one of many records in a state."""
    rounds = Rounds()
    initial = Orders((Order(),) * (kilobytes * 1024 // 210))
    job = Task("large", state=Orders, event=Added, initial=initial, decide=decide)

    async def measure() -> None:
        path = turn.folder / f"large-{kilobytes}-{turn.offset}.db"
        async with App(None).with_jobs(job).open(f"sqlite:///{path}", debug=False) as client:
            handle = client.handle(job)

            async def call(number: int) -> None:
                await handle.send(f"id-{number % STATES}", EVENT)

            await Rounds().of_clients(call, clients=64, calls=STATES)
            for _ in range(turn.rounds):
                await rounds.of_clients(call, clients=64, calls=STATES)
            await rounds.counted(call, clients=64, calls=STATES)

    asyncio.run(measure())
    return rounds.figures
