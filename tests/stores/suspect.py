"""A process whose pure handler kills it with SIGKILL: of a message that another job sent, or of a caller's request.

``python suspect.py FILE JOURNAL HOW``: each process does the same; the one that survives prints its findings.
"""

import asyncio
import json
import os
import signal
import sys
from typing import Any

from returns.result import Success

from perdure import App, Decision, Task, attempt, tell

KILL, FINE = "kill", "fine"
journal = -1


def decide(count: int, word: str) -> Success[Decision[int]]:
    os.write(journal, f"{word}\n".encode())
    if word == KILL:
        os.kill(os.getpid(), signal.SIGKILL)
    return Success(Decision(count + 1))


job: Task[Any, Any, Any, Any] = Task("job", state=int, event=str, initial=0, decide=decide)
sender: Task[Any, Any, Any, Any] = Task(
    "sender",
    state=int,
    event=str,
    initial=0,
    on_event=lambda _, __: tell(job, "killer").send(KILL).bind(lambda _: tell(job, "bystander").send(FINE)),
)


async def main(file: str, journal_path: str, how: str) -> None:
    global journal  # noqa: PLW0603 - of this process alone
    journal = os.open(journal_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    async with App(None).with_jobs(job, sender).open(f"sqlite:///{file}?durability=relaxed") as jobs:
        if how == "message":
            await jobs.handle(sender).send("s", "x", idempotency_key="k")
        answer = await attempt(jobs.handle(job).send("killer", KILL if how == "request" else FINE))
        await jobs.handle(job).send("bystander", FINE)
        while how == "message" and (await attempt(jobs.handle(job).get_state("bystander"))).value_or(None) != 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        status = await jobs.handle(job).status("killer")
        history = await jobs.history(job, "killer")
        report = {
            "answer": type(answer.swap().value_or(None)).__name__,
            "killer": [status.status, status.parked],
            "history": [[entry.event.type, getattr(entry.event, "recoveries", None)] for entry in reversed(history)],
            "bystander": await jobs.handle(job).get_state("bystander"),
        }
        print(json.dumps(report))  # noqa: T201 - its output


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
