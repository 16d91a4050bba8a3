"""One process for each cell of a table: a kind of exception that is not an ``Exception``, raised in one hook.

``python exception_cells.py FOLDER`` imports the library once, and forks a process for each cell. Each opens a SQLite
file of its own, makes one call, closes the engine, and prints its observations as JSON. A second process opens this
file with hooks that work, as the next start does.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from returns.result import Failure, Result, Success

from perdure import App, Continuous, Debounce, Migrations, Retry, Task, attempt, every, tell
from perdure.client.client import Client
from perdure.client.local_gateway import engine_of
from perdure.jobs.context import Decision
from perdure.programs import Program, effect, gather, program, succeed
from perdure.programs.container import result_inside
from perdure.stores.sqlite import open_sqlite

PATIENCE_S = 60
"""A process that has not ended by then is killed: closing the engine must not hang."""


class Panic(BaseException):
    """The exception of a panic in an extension that is written in Rust."""


KINDS: dict[str, Callable[[], BaseException]] = {
    "panic": lambda: Panic("panicked"),
    "group": lambda: BaseExceptionGroup("several", [Panic("panicked")]),
    "generator_exit": GeneratorExit,
    "system_exit": lambda: SystemExit(3),
    "keyboard_interrupt": KeyboardInterrupt,
    "cancelled": asyncio.CancelledError,
}

broken: Callable[[], BaseException] | None = None
"""The exception that the hooks of this process raise; None once they work."""


def act(*_: Any) -> None:
    """Raise, if this process raises."""
    if broken is not None:
        raise broken()


def hook(*_: Any) -> Program[Any]:
    act()
    return succeed(None)


@effect
def call(_: object) -> Result[None, str]:
    act()
    return Success(None)


@effect
async def call_later(_: object) -> Result[None, str]:
    await asyncio.sleep(0)
    act()
    return Success(None)


@program
def in_finally(*_: Any) -> Any:
    try:
        yield from call_again()
    finally:
        act()


@program
def in_branch(*_: Any) -> Any:
    yield from gather(call_later(), call_again())


@effect
async def call_again(_: object) -> Result[None, str]:
    await asyncio.sleep(0)
    return Success(None)


def fails(*_: Any) -> Result[Any, str]:
    return Failure("no") if broken is not None else Success(None)


def decide(state: int, _: str) -> Result[Decision[int], str]:
    act()
    return Success(Decision(state))


def fine(*_: Any) -> Program[Any]:
    return succeed(None)


def upcast(old: str) -> int:
    act()
    return len(old)


def task(**hooks: Any) -> Task[Any, Any, Any, Any]:
    given: dict[str, Any] = {"on_event": fine, "initial": 0} | hooks
    if "decide" in hooks:
        del given["on_event"]
    return Task("job", state=int, event=str, **given)


ONCE = Retry(max_attempts=1, retry_if=lambda _: act() is None)
"""A policy that raises when it is consulted."""

soon: Any = {"on_event": lambda ctx, _: ctx.schedule(after="1 ms")}
teller: Task[Any, Any, Any, Any] = Task(
    "teller", state=int, event=str, initial=0, on_event=lambda _, __: tell(JOBS["message"], "a").send("x")
)
continuous: Any = {"state": int, "schedule": every("50 ms", align="start")}

JOBS: dict[str, Any] = {
    "on_event": task(on_event=hook),
    "effect": task(on_event=lambda *_: call()),
    "effect that waits": task(on_event=lambda *_: call_later()),
    "finally": task(on_event=in_finally),
    "branch": task(on_event=in_branch),
    "decide": task(decide=decide),
    "initial": task(initial=lambda _: act() or 0),
    "on_idle": task(on_idle=hook),
    "on_error": task(on_event=fails, on_error=hook),
    "on_error of a run": task(execute=fails, on_error=hook),
    "execute": task(execute=hook),
    "alarm": task(execute=lambda *_: call_later(), **soon),
    "retry_if": task(execute=fails, retry=ONCE),
    "message": task(on_event=hook),
    "upgrade": Task("job", state=int, event=str, initial=0, on_event=fine, versions=Migrations(str).then(upcast)),
    "continuous": Continuous("job", execute=hook, **continuous),
    "continuous alarm": Continuous("job", execute=lambda *_: call_later(), start_immediately=False, **continuous),
    "continuous retry_if": Continuous("job", execute=fails, retry=ONCE, **continuous),
    "debounce": Debounce("job", event=int, state=int, initial=0, flush_after="1 hour", on_event=hook, execute=fine),
    "debounce flush": Debounce("job", event=int, flush_after="1 hour", execute=lambda *_: call_later()),
}

RUNS = {"on_error of a run", "execute", "retry_if"}
"""Hooks that a trigger calls, on a task that an event created before."""


async def first_call(jobs: Client, name: str) -> Any:
    """Make the call that meets the exception; an alarm is waited for."""
    job = JOBS[name]
    calls: Any = jobs.handle(job)
    if isinstance(job, Continuous):
        return await attempt(calls.start("a", 0))
    if isinstance(job, Debounce):
        added = await attempt(calls.add("a", 1))
        return await attempt(calls.flush("a")) if name == "debounce flush" else added
    if name in RUNS:
        return await attempt(calls.trigger("a"))
    if name == "message":
        return await attempt(jobs.handle(teller).send("t", "x"))
    return await attempt(calls.send("a", "x"))


async def meet(folder: Path, name: str, kind: str) -> dict[str, Any]:
    global broken  # noqa: PLW0603 - of this process alone
    job = JOBS[name]
    if name == "upgrade":
        old = Task("job", state=str, event=str, initial="old", on_event=fine)
        async with App(None).with_jobs(old).open(f"sqlite:///{folder}/jobs.db?durability=relaxed") as jobs:
            await jobs.handle(old).send("a", "x")
    app = App(None).with_jobs(job, *((teller,) if name == "message" else ()))
    async with app.open(f"sqlite:///{folder}/jobs.db?durability=relaxed") as jobs:
        if name in RUNS:
            await jobs.handle(job).send("a", "x")
        broken = KINDS[kind]
        answer = await first_call(jobs, name)
        while not engine_of(jobs).stopped.done() and name in {"alarm", "message", "continuous alarm"}:
            history = await jobs.history(job, "a")
            if any(entry.event.type == "job.failed" for entry in history):
                break
            await asyncio.sleep(0.002)
        stopped = engine_of(jobs).stopped.result() if engine_of(jobs).stopped.done() else None
    value = answer.value_or(None)
    outcome = type(getattr(value, "outcome", None)).__name__
    return {"answer": type(answer.swap().value_or(None)).__name__, "outcome": outcome, "stopped": stopped}


async def messages_in(folder: Path) -> int:
    """Return the number of stored messages, before an engine delivers them again."""
    store = await open_sqlite(f"{folder}/jobs.db", durability="relaxed")
    letters = result_inside(await store.dead_letters(0, 10)).unwrap()
    waiting = result_inside(await store.messages(2**62, 10)).unwrap()
    await store.close()
    return len(letters) + len(waiting)


async def next_start(folder: Path, name: str) -> dict[str, Any]:
    """Open the file with hooks that work, wait until nothing runs, and return the state found."""
    job, messages = JOBS[name], await messages_in(folder)
    async with (
        App(None)
        .with_jobs(job, *((teller,) if name == "message" else ()))
        .open(f"sqlite:///{folder}/jobs.db?durability=relaxed") as jobs
    ):
        calls: Any = jobs.handle(job)
        status = await calls.status("a")
        while status.status == "running":
            await asyncio.sleep(0.002)
            status = await calls.status("a")
        history = await jobs.history(job, "a")
    return {
        "status": status.status,
        "scheduled": getattr(status, "next_run_at", None) is not None,
        "failed": list(  # each kind of failure once: a slow machine meets more than one tick
            dict.fromkeys(
                entry.event.error.error_type for entry in reversed(history) if entry.event.type == "job.failed"
            )
        ),
        "parked": status.parked,
        "messages": messages,
    }


def forked(out: Path, work: Callable[[], Any]) -> int:
    """Run a function in a process of its own, and return that process's exit code; -14: it did not end in time."""
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE_S)
        code = 70
        try:
            out.write_text(json.dumps(asyncio.run(work())))
            code = 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(folder: str) -> None:
    (Path(folder) / "loaded").mkdir()
    asyncio.run(next_start(Path(folder) / "loaded", "on_event"))  # import and compile once, not in each process
    for kind in KINDS:
        for name in JOBS:
            here = Path(folder) / f"{kind}-{name.replace(' ', '_')}"
            here.mkdir()
            first = forked(here / "first", lambda: meet(here, name, kind))  # noqa: B023 - forked at once
            then = forked(here / "then", lambda: next_start(here, name))  # noqa: B023
            seen: dict[str, Any] = {"kind": kind, "hook": name, "ended": [first, then]}
            for part in ("first", "then"):
                seen |= json.loads((here / part).read_text()) if (here / part).exists() else {}
            print(json.dumps(seen), flush=True)  # noqa: T201 - its output


if __name__ == "__main__":
    main(sys.argv[1])
