"""What the program layer costs: run ``python docs/benchmarks/program.py``.

Each line is the best of several rounds, in microseconds for one operation, measured in one process on one machine. The
last lines are what the same thing costs without the library: a plain generator, and the readers of `returns`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Generator

from returns.context import RequiresContextFutureResult
from returns.future import FutureResult
from returns.result import Result, Success

from perdure.programs import Do, Program, effect, program, run_async, run_sync, succeed

STEPS = 20_000
ROUNDS = 7
RETURNS_DEPTH = 100
"""Binds in one chain of `returns` readers: they overflow the stack at some 330."""


@effect
def call_sync(services: int, value: int) -> Result[int, str]:
    """Call a service that answers at once."""
    return Success(services + value)


@effect
def call_future(services: int, value: int) -> FutureResult[int, str]:
    """Call a service that answers with a `FutureResult`."""
    return FutureResult.from_value(services + value)


@program
def loop(step: Program[int, str, int]) -> Do[int, str, int]:
    """Run the same program many times in a do-block."""
    last = 0
    for _ in range(STEPS):
        last = yield from step
    return last


def binds() -> Program[int]:
    """Chain many binds."""
    chain: Program[int] = succeed(0)
    for _ in range(STEPS):
        chain = chain.bind(_increment)
    return chain


def maps() -> Program[int]:
    """Chain many maps."""
    chain: Program[int] = succeed(0)
    for _ in range(STEPS):
        chain = chain.map(_plus_one)
    return chain


def plain_generators() -> int:
    """Do what `loop` does, with bare generators and a bare trampoline."""
    running = _plain_loop()
    try:
        request = next(running)
        while True:
            request = running.send(request)
    except StopIteration as stop:
        return int(stop.value)


def returns_readers() -> RequiresContextFutureResult[int, str, int]:
    """Chain binds of the reader of `returns`."""
    chain: RequiresContextFutureResult[int, str, int] = RequiresContextFutureResult.from_value(0)
    for _ in range(RETURNS_DEPTH):
        chain = chain.bind(_returns_increment)
    return chain


def measure(name: str, operations: int, run: Callable[[], object]) -> None:
    """Print the best of the rounds."""
    best = min(_seconds(run) for _ in range(ROUNDS))
    sys.stdout.write(f"{name:<58}{best / operations * 1e6:8.2f} µs\n")


def main() -> None:
    """Measure everything."""
    one, sync_call, future_call = succeed(1), call_sync(1), call_future(1)
    measure("do-step: x = yield from succeed(...)", STEPS, lambda: run_sync(loop(one), 1))
    measure("bind, built and run", STEPS, lambda: run_sync(binds(), 1))
    measure("map, built and run", STEPS, lambda: run_sync(maps(), 1))
    measure("service call, run_sync, Result", STEPS, lambda: run_sync(loop(sync_call), 1))
    measure("service call, run_async, Result", STEPS, lambda: asyncio.run(run_async(loop(sync_call), 1)))
    measure("service call, run_sync, FutureResult", STEPS, lambda: run_sync(loop(future_call), 1))
    measure("service call, run_async, FutureResult", STEPS, lambda: asyncio.run(run_async(loop(future_call), 1)))
    measure("a whole run_sync of succeed(...)", STEPS, lambda: [run_sync(one, 1) for _ in range(STEPS)])
    measure("a whole run_async of succeed(...)", STEPS, lambda: asyncio.run(_many_runs(one)))
    measure("building a service call", STEPS, lambda: [call_sync(1) for _ in range(STEPS)])
    measure("plain generator: x = yield from step(...)", STEPS, plain_generators)
    measure("returns: RequiresContextFutureResult.bind, built and run", RETURNS_DEPTH, _run_returns)


async def _many_runs(one: Program[int]) -> None:
    for _ in range(STEPS):
        await run_async(one, 1)


def _run_returns() -> object:
    return asyncio.run(_awaited(returns_readers()(1)))


async def _awaited(outcome: FutureResult[int, str]) -> object:
    return await outcome


def _plain_step(value: int) -> Generator[int, int, int]:
    return (yield value)


def _plain_loop() -> Generator[int, int, int]:
    last = 0
    for _ in range(STEPS):
        last = yield from _plain_step(1)
    return last


def _increment(value: int) -> Program[int]:
    return succeed(value + 1)


def _plus_one(value: int) -> int:
    return value + 1


def _returns_increment(value: int) -> RequiresContextFutureResult[int, str, int]:
    return RequiresContextFutureResult.from_value(value + 1)


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
