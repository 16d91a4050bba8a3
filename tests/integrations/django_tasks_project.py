"""The tasks of a Django project, and the pool that runs them."""

import asyncio
import threading
from typing import Any

from django.tasks import TaskContext, task

from perdure import App, Backoff, Retry
from perdure.integrations.django.tasks import task_pool

tasks = task_pool("tasks", workers=2)
tried_again = task_pool("tried-again", retry=Retry(3, Backoff.constant("1 ms"), jitter=False))
one_by_one = task_pool("one-by-one", workers=1)
app = App(None).with_jobs(tasks, tried_again, one_by_one)

gate = threading.Event()
seen: list[Any] = []


class OutOfTea(Exception):
    pass


@task
def add(one: int, other: int = 0) -> int:
    return one + other


@task
async def add_later(one: int, other: int) -> int:
    await asyncio.sleep(0)
    return one + other


@task
def refuse() -> None:
    raise OutOfTea("none left")


@task(backend="one-by-one")
def hold() -> bool:
    return gate.wait(120)


@task
def wait() -> str:
    assert gate.wait(120)
    return "over"


@task(backend="one-by-one")
def note(word: str) -> None:
    seen.append(word)


@task(takes_context=True, backend="tried-again")
def third_time(context: TaskContext) -> list[Any]:
    if context.attempt < 3:
        raise OutOfTea(str(context.attempt))
    result = context.task_result
    return [context.attempt, result.status, result.id]


@task
def unserializable() -> object:
    return object()
