"""Wrong arguments of calls are answered with a typed error that names the argument, and nothing is written."""

import asyncio
from typing import Any

import pytest

from perdure import App, Task, tell, unwrap
from perdure.stores.memory import memory_store
from perdure.values.errors import DefinitionError, InvalidArgument

counter = Task("counter", state=int, event=int, initial=0, on_event=lambda ctx, event: ctx.set_state(event))

WRONG: dict[str, Any] = {
    "wait_for of trigger": lambda jobs: jobs.handle(counter).trigger("a", wait_for="foo"),
    "status of list": lambda jobs: jobs.list(status="weird"),
    "limit of list": lambda jobs: jobs.list(limit=0),
    "limit of history": lambda jobs: jobs.history(counter, "a", limit=-5),
    "limit of dead_letters": lambda jobs: jobs.dead_letters(limit=1_001),
    "before of history": lambda jobs: jobs.history(counter, "a", before=2**70),
    "after of dead_letters": lambda jobs: jobs.dead_letters(after=True),
    "message_id of redrive": lambda jobs: jobs.redrive(2**70),
    "payload of send": lambda jobs: jobs.handle_by_name("task", "counter").call("send", "a", {"a": 1}),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_argument_is_a_typed_error(what: str) -> None:
    async def main() -> None:
        async with App(None).with_jobs(counter).open(memory_store()) as jobs:
            with pytest.raises(InvalidArgument) as refused:
                await unwrap(WRONG[what](jobs))
            assert refused.value.what == what
            assert await unwrap(jobs.list()) == ()

    asyncio.run(main())


def test_a_message_needs_a_definition() -> None:
    job: Any = 5
    with pytest.raises(DefinitionError, match="got 5"):
        tell(job, "a")
