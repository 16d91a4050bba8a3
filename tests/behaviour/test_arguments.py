"""Wrong arguments of calls are answered with a typed error that names the argument, and nothing is written."""

import asyncio
from datetime import datetime
from typing import Any

import pytest

from perdure import App, Task, tell
from perdure.stores.memory import memory_store
from perdure.values.errors import DefinitionError, InvalidArgument

counter = Task("counter", state=int, event=int, initial=0, on_event=lambda ctx, event: ctx.set_state(event))

WRONG: dict[str, Any] = {
    "wait_for of trigger": lambda jobs: jobs.handle(counter).trigger("a", wait_for="foo"),
    "wait_for of pause": lambda jobs: jobs.handle_by_name("task", "counter").call("pause", "a", wait_for="soon"),
    "interrupt of pause": lambda jobs: jobs.handle_by_name("task", "counter").call("pause", "a", interrupt="yes"),
    "status of list": lambda jobs: jobs.list(status="weird"),
    "limit of list": lambda jobs: jobs.list(limit=0),
    "limit of history": lambda jobs: jobs.history(counter, "a", limit=-5),
    "limit of dead_letters": lambda jobs: jobs.dead_letters(limit=1_001),
    "before of history": lambda jobs: jobs.history(counter, "a", before=2**70),
    "after of dead_letters": lambda jobs: jobs.dead_letters(after=True),
    "message_id of redrive": lambda jobs: jobs.redrive(2**70),
    "limit of left_messages": lambda jobs: jobs.left_messages(limit=1_001),
    "message_id of bury": lambda jobs: jobs.bury(-1),
    "key of forget_key": lambda jobs: jobs.forget_key(counter, "a", "k" * 513),
    "definition of forget_key": lambda jobs: jobs.forget_key("counter", "a", "k"),
    "name of set_limit": lambda jobs: jobs.set_limit(1, concurrency=5),
    "concurrency of set_limit": lambda jobs: jobs.set_limit("phones", concurrency=0),
    "rate of set_limit": lambda jobs: jobs.set_limit("phones", rate=5),
    "concurrency_per_key of set_limit": lambda jobs: jobs.set_limit("phones", concurrency_per_key="5"),
    "rate_per_key of set_limit": lambda jobs: jobs.set_limit("phones", rate_per_key=(1, "soon")),
    "name of reset_limit": lambda jobs: jobs.reset_limit("x" * 513),
    "after of list": lambda jobs: jobs.list(after="a"),
    "id_prefix of list": lambda jobs: jobs.list(id_prefix="\ud800"),
    "due_before of list": lambda jobs: jobs.list(due_before=datetime(2026, 1, 1)),  # noqa: DTZ001 - it has no zone
    "definition of list": lambda jobs: jobs.list("counter"),
    "definition of history": lambda jobs: jobs.history(5, "a"),
    "definition of explain": lambda jobs: jobs.explain(None, "a", "alarm"),
    "interrupt of terminate": lambda jobs: jobs.handle(counter).terminate("a", interrupt="yes"),
    "idempotency_key": lambda jobs: jobs.handle(counter).send("a", 1, idempotency_key=["k"]),
    "action of a call by name": lambda jobs: jobs.handle_by_name("task", "counter").call(["send"], "a", "1"),
    "path of backup": lambda jobs: jobs.backup(5),
    "progress of backup": lambda jobs: jobs.backup("copy.db", progress=None),
    "payload of send": lambda jobs: jobs.handle_by_name("task", "counter").call("send", "a", {"a": 1}),
}


@pytest.mark.parametrize("argument", WRONG)
def test_a_wrong_argument_is_a_typed_error(argument: str) -> None:
    async def main() -> None:
        async with App(None).with_jobs(counter).open(memory_store()) as jobs:
            with pytest.raises(InvalidArgument) as refused:
                await WRONG[argument](jobs)
            assert refused.value.what == argument
            assert len(await jobs.list()) == 0

    asyncio.run(main())


@pytest.mark.parametrize("argument", ["definition of handle", "kind of handle_by_name", "name of handle_by_name"])
def test_a_handle_needs_a_definition_or_two_names(argument: str) -> None:
    calls: dict[str, Any] = {
        "definition of handle": lambda jobs: jobs.handle("counter"),
        "kind of handle_by_name": lambda jobs: jobs.handle_by_name(["task"], "counter"),
        "name of handle_by_name": lambda jobs: jobs.handle_by_name("task", {}),
    }

    async def main() -> None:
        async with App(None).with_jobs(counter).open(memory_store()) as jobs:
            with pytest.raises(InvalidArgument, match=argument):
                calls[argument](jobs)

    asyncio.run(main())


def test_a_message_needs_a_definition() -> None:
    job: Any = 5
    with pytest.raises(DefinitionError, match="got 5"):
        tell(job, "a")


def test_a_definition_is_not_taken_for_the_services() -> None:
    with pytest.raises(DefinitionError, match="definitions follow"):
        App(counter)


def test_limits_of_another_type_are_refused_where_the_app_is_written():
    with pytest.raises(DefinitionError, match=r"limits of the app: expected a Limits, .*message_deliveries"):
        App(None, limits={"message_deliveries": 2})
