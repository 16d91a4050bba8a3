"""A process that a job's `initial` or upcaster kills: code that runs before any handler, in a turn of any cause.

``python suspect_state.py FILE JOURNAL HOW CODE``: CODE ``old`` writes the rows, ``other`` cannot read one of them, and
``new`` kills. Each process of ``new`` does the same; the one that survives prints the outcome.
"""

import asyncio
import ctypes
import json
import os
import signal
import sys
from typing import Any

from attrs import evolve, frozen

from perdure import App, Migrations, Task, TaskContext, attempt, tell
from perdure.programs import Program, program, sleep

KILLER, BYSTANDER, RUNNER = "killer", "bystander", "runner"
AT_ONCE = 0
journal = -1


@frozen
class Old:
    id: str
    count: int = 0


@frozen
class New:
    id: str
    count: int
    made: str


def kill_if(id_: str, how: str) -> None:
    if id_ != KILLER:
        return
    os.write(journal, b"kill\n")
    match how:
        case "message":
            os._exit(9)
        case "alarm":
            ctypes.string_at(0)  # a segmentation fault
        case _:
            os.kill(os.getpid(), signal.SIGKILL)


def job_of(code: str, how: str) -> Task[Any, Any, Any, Any]:
    def upcast(old: Old) -> New:
        kill_if(old.id, how)
        return New(old.id, old.count, "by the upcaster")

    def initial(id_: str) -> New:
        kill_if(id_, how)
        return New(id_, 0, "by the first event")

    forms: dict[str, Any] = {
        "old": {"state": Old, "initial": Old},
        "other": {"state": int, "initial": 0},
        "new": {"state": New, "initial": initial, "versions": Migrations(Old).then(upcast)},
    }
    return Task("job", event=int, on_event=on_event, execute=execute, **forms[code])


@program
def on_event(ctx: TaskContext[Any], alarm_in_ms: int) -> Any:
    yield from ctx.update_state(lambda state: evolve(state, count=state.count + 1))
    if alarm_in_ms != AT_ONCE:
        yield from ctx.schedule(after=f"{alarm_in_ms} milliseconds")


@program
def execute(ctx: TaskContext[Any]) -> Any:
    yield from sleep("300 milliseconds")
    yield from ctx.update_state(lambda state: evolve(state, count=state.count + 100))


def sender_to(job: Any) -> Task[Any, Any, Any, Any]:
    def send(_: object, __: str) -> Program[Any, Any, Any]:
        return tell(job, KILLER).send(AT_ONCE).bind(lambda _: tell(job, BYSTANDER).send(AT_ONCE))

    return Task("sender", state=int, event=str, initial=0, on_event=send)


async def write_rows(handle: Any, how: str) -> None:
    for id_ in (RUNNER, BYSTANDER) if how.startswith("first") else (RUNNER, KILLER, BYSTANDER):
        alarm_in_ms = 1_500 if id_ == RUNNER or (id_ == KILLER and how == "alarm") else AT_ONCE
        await handle.send(id_, alarm_in_ms)


async def serve_all(jobs: Any, job: Any, sender: Any, how: str) -> dict[str, Any]:
    handle = jobs.handle(job)
    if how.endswith("message"):
        await jobs.handle(sender).send("s", "x", idempotency_key="k")
    elif how.endswith("request"):
        await attempt(handle.send(KILLER, AT_ONCE, idempotency_key="k"))
    while how != "start":
        runner = await handle.get_state(RUNNER)
        killer = await handle.status(KILLER)
        if runner.count == 101 and killer.status == "parked":
            break
        await asyncio.sleep(0.01)
    answer = await attempt(handle.send(KILLER, AT_ONCE, idempotency_key="k"))
    if not how.endswith("message"):
        await handle.send(BYSTANDER, AT_ONCE, idempotency_key="k")
    while (await handle.get_state(BYSTANDER)).count != 2:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    killer = await handle.status(KILLER)
    history = await jobs.history(job, KILLER)
    seen = await attempt(handle.get_state(KILLER))
    return {
        "answer": type(answer.swap().value_or(None)).__name__,
        "killer": [killer.status, killer.parked],
        "state": seen.value_or("unreadable"),
        "history": [[entry.event.type, getattr(entry.event, "recoveries", None)] for entry in reversed(history)],
        "runner": (await handle.status(RUNNER)).parked,
    }


async def main(file: str, journal_path: str, how: str, code: str) -> None:
    global journal  # noqa: PLW0603 - of this process alone
    journal = os.open(journal_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    job = job_of(code, how)
    sender = sender_to(job)
    async with App(None).with_jobs(job, sender).open(f"sqlite:///{file}?durability=relaxed") as jobs:
        if code == "old":
            await write_rows(jobs.handle(job), how)
        elif code == "other":
            await attempt(jobs.handle(job).send(KILLER, AT_ONCE))
        else:
            print(json.dumps(await serve_all(jobs, job, sender, how)))  # noqa: T201 - how it tells


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
