"""Requests of tools carry any id and any layout of JSON, and mean the same as in process."""

import asyncio

import pytest
from returns.result import Success

from perdure import App, Decision, Task
from perdure.client.gateway import attempt
from perdure.remote import connect
from perdure.server.serving import serving
from perdure.values.errors import InvalidArgument

total = Task("total", state=int, event=int, initial=0, decide=lambda state, event: Success(Decision(state + event)))


def served(scenario, **options):
    """Run a scenario with a client of an engine of its own; return its result."""

    async def main():
        async with (
            App(None).with_jobs(total).open("memory://") as local,
            serving(local, ["127.0.0.1:0"]) as (server,),
            connect(server.urls[0], total, **options) as jobs,
        ):
            return await scenario(jobs)

    return asyncio.run(main())


@pytest.mark.parametrize("id_", [".", "..", "a/b", "%2E", "explain"])
def test_an_explanation_changes_nothing_whatever_the_id_is(id_):
    async def scenario(jobs):
        job = jobs.handle_by_name("task", "total")
        explained = await attempt(job.explain("send", id_, "5"))
        history = await attempt(job.history(id_))
        return type(explained), history, len(await jobs.list(kind="task"))

    assert served(scenario) == (Success, Success(()), 0)


def test_json_on_several_lines_is_one_request_of_its_batch():
    async def scenario(jobs):
        job = jobs.handle_by_name("task", "total")
        calls = (job.call("send", "a", "\n5\r\n"), job.call("send", "b", "6"))
        sent = await asyncio.gather(*map(attempt, calls))
        states = [(await attempt(job.get_state(id_))).unwrap() for id_ in ("a", "b")]
        return [type(answer) for answer in sent], states

    assert served(scenario) == ([Success, Success], [5, 6])


def test_a_key_means_the_same_in_a_header_as_in_process():
    key = "schl\u00fcssel \u2192 1"

    async def scenario(jobs):
        job = jobs.handle_by_name("task", "total")
        first = await attempt(job.call("send", "a", "5", idempotency_key=key))
        repeated = await attempt(job.explain("send", "a", "5", idempotency_key=key))
        refused = await attempt(job.explain("send", "a", "5", idempotency_key="a\nb"))
        return first.unwrap(), repeated.unwrap(), refused.failure()

    sent, explained, refused = served(scenario)
    assert sent in explained.values()
    assert isinstance(refused, InvalidArgument)
