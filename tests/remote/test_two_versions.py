"""Clients and engines of two versions of one job: a call compares the values that it carries, and no others."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import attrs
import pytest
from returns.result import Failure, Success

from perdure import App, Decision, Do, Task, WorkerPool, Workflow, program, succeed
from perdure.client.gateway import attempt
from perdure.remote import connect, connect_sync
from perdure.server.serving import serving
from perdure.values.answer import Done
from perdure.values.errors import InvalidInput, Rejected, Undecodable
from perdure.values.status import Defect


def version(make: Any) -> Any:
    """The classes of one version, whose names are those of the other one."""
    return type(make.__name__, (), {cls.__name__: cls for cls in make()})


@version
def old() -> Any:
    @attrs.frozen
    class Pay:
        cents: int

    @attrs.frozen
    class Bill:
        cents: int = 0

    @attrs.frozen
    class Refused:
        why: str

    return Pay, Bill, Refused


@version
def new() -> Any:
    @attrs.frozen
    class Pay:
        cents: int
        tip: int = 0

    @attrs.frozen
    class Note:
        text: str

    @attrs.frozen
    class Bill:
        cents: int = 0
        note: str = ""

    @attrs.frozen
    class Refused:
        why: str

    @attrs.frozen
    class Closed:
        since: int

    return Pay, Note, Bill, Refused, Closed


def older_bill(bill: Any, event: Any) -> Any:
    return Failure(old.Refused("debt")) if event.cents < 0 else Success(Decision(attrs.evolve(bill, cents=event.cents)))


def newer_bill(bill: Any, event: Any) -> Any:
    match event:
        case new.Note(text):
            return Success(Decision(attrs.evolve(bill, note=text)))
        case new.Pay(cents, tip):
            return Failure(new.Closed(1)) if cents < 0 else Success(Decision(attrs.evolve(bill, cents=cents + tip)))


older = Task("bills", state=old.Bill, event=old.Pay, initial=old.Bill(), decide=older_bill, errors=old.Refused)
newer = Task(
    "bills",
    state=new.Bill,
    event=new.Pay | new.Note,
    initial=new.Bill(),
    decide=newer_bill,
    errors=new.Refused | new.Closed,
)


def calling(server: Any, client: Any, call: Any, *, before: Any = None) -> Any:
    """Make calls to an engine of one version with a client of another; ``before`` with one of the engine's own."""

    async def main():
        async with AsyncExitStack() as stack:
            local = await stack.enter_async_context(App(None).with_jobs(server).open("memory://"))
            (served,) = await stack.enter_async_context(serving(local, ["127.0.0.1:0"]))
            if before is not None:
                await before(local.handle(server))
            jobs = await stack.enter_async_context(connect(served.urls[0], client))
            return await call(jobs.handle(client), jobs.handle_by_name("task", "bills"))

    return asyncio.run(main())


def test_an_older_client_calls_a_newer_engine():
    async def call(bills: Any, _: Any) -> Any:
        calls = (bills.send("a", old.Pay(5)), bills.get_state("a"), bills.status("a"), bills.terminate("a"))
        return [await attempt(each) for each in calls]

    results = calling(newer, older, call, before=lambda bills: attempt(bills.send("a", new.Note("keep me"))))
    assert {type(result) for result in results} == {Success}
    assert results[1] == Success(old.Bill(5))


def test_an_engine_refuses_the_part_of_an_input_that_it_does_not_know():
    async def call(bills: Any, _: Any) -> Any:
        sent = [await attempt(bills.send("a", event)) for event in (new.Pay(5, tip=1), new.Note("x"))]
        return sent, await attempt(bills.get_state("a"))

    (tip, note), state = calling(older, newer, call)
    assert isinstance(tip.failure(), InvalidInput)
    assert tip.failure().problems == ("$['tip']: unknown key; Pay has cents",)
    assert note.failure().problems == ("$: an object of the class 'Note'; this code knows Pay",)
    assert state == Success(None)


def test_a_member_with_its_default_passes_an_older_engine():
    async def call(bills: Any, _: Any) -> Any:
        return await attempt(bills.send("a", new.Pay(5))), await attempt(bills.get_state("a"))

    sent, state = calling(older, newer, call)
    assert (type(sent), state) == (Success, Success(new.Bill(5)))


@attrs.frozen
class Cents:
    cents: int = 100
    tip: int = 0


def test_a_known_member_keeps_its_value_if_the_defaults_differ():
    """The older code has 0 as the default of a member that the newer one leaves out of the bare form."""

    @attrs.frozen
    class Known:
        cents: int = 0

    known = Task("bills", state=int, event=Known, initial=0, decide=lambda _, event: Success(Decision(event.cents)))
    sends = Task("bills", state=int, event=Cents, initial=0, decide=lambda _, event: Success(Decision(event.cents)))

    async def call(bills: Any, _: Any) -> Any:
        return await attempt(bills.send("a", Cents())), await attempt(bills.get_state("a"))

    sent, state = calling(known, sends, call)
    assert (type(sent), state) == (Success, Success(100))


def test_one_webhook_through_two_versions_of_the_web_tier_is_one_request():
    def total(event: Any) -> Any:
        return Task("bills", state=int, event=event, initial=0, decide=lambda _, given: Success(Decision(given.cents)))

    events = {older: old.Pay(5), newer: new.Pay(5), total(old.Bill): old.Bill(5), total(new.Bill): new.Bill(5)}

    async def sent_twice(server: Any, *clients: Any) -> list[Any]:
        async with AsyncExitStack() as stack:
            local = await stack.enter_async_context(App(None).with_jobs(server).open("memory://"))
            (served,) = await stack.enter_async_context(serving(local, ["127.0.0.1:0"]))
            results = []
            for job in clients:
                jobs = await stack.enter_async_context(connect(served.urls[0], job))
                results.append(await attempt(jobs.handle(job).send("a", events[job], idempotency_key="webhook-1")))
            return results

    for pair in (list(events)[:2], list(events)[2:]):
        for server in pair:
            for clients in (pair, pair[::-1]):
                first, again = asyncio.run(sent_twice(server, *clients))
                assert isinstance(first, Success)
                assert again == first


def test_a_newer_client_reads_the_complete_state_through_an_older_engine(tmp_path):
    url = f"sqlite:///{tmp_path}/jobs.db"

    async def main():
        async with App(None).with_jobs(newer).open(url) as jobs:
            await attempt(jobs.handle(newer).send("a", new.Note("keep me")))
        async with (
            App(None).with_jobs(older).open(url) as jobs,
            serving(jobs, ["127.0.0.1:0"]) as (server,),
            connect(server.urls[0], newer) as client,
        ):
            named, here = client.handle_by_name("task", "bills"), jobs.handle_by_name("task", "bills")
            typed = await attempt(client.handle(newer).get_state("a"))
            raw = [await attempt(each.get_state("a")) for each in (named, here)]
            return typed, raw, await attempt(named.shown_state("a")), await attempt(jobs.handle(older).get_state("a"))

    typed, raw, shown, local = asyncio.run(main())
    assert typed == Success(new.Bill(0, "keep me"))
    assert raw == [Success({"cents": 0, "note": "keep me"})] * 2
    assert shown == Success({"cents": 0, "note": "<secret>"})  # newer code may have marked it
    assert local == Success(old.Bill())


def test_an_error_of_a_class_that_the_client_does_not_know_is_a_defect():
    async def call(bills: Any, _: Any) -> Any:
        return await attempt(bills.send("a", old.Pay(-1)))

    error = calling(newer, older, call).failure()
    assert isinstance(error, Rejected)
    assert error.error == Defect("Closed", '{"type":"Closed","since":1}')


def test_an_error_of_a_form_that_the_client_does_not_take_is_a_defect():
    @attrs.frozen
    class Refused:
        reason: int

    client = Task("bills", state=old.Bill, event=old.Pay, initial=old.Bill(), decide=older_bill, errors=Refused)

    async def call(bills: Any, _: Any) -> Any:
        return await attempt(bills.send("a", old.Pay(-1)))

    error = calling(older, client, call).failure()
    assert isinstance(error, Rejected)
    assert error.error == Defect("Refused", '{"why":"debt"}')


def test_a_client_of_two_engines_goes_to_the_one_that_knows_its_input():
    """Whichever of them is the first for an instance, with and without an event loop."""

    async def engine(stack: AsyncExitStack, job: Any) -> str:
        local = await stack.enter_async_context(App(None).with_jobs(job).open("memory://"))
        (server,) = await stack.enter_async_context(serving(local, ["127.0.0.1:0"]))
        return server.urls[0]

    def ask(urls: list[str]) -> list[Any]:
        with connect_sync(urls, newer) as jobs:
            return [jobs.attempt(jobs.handle(newer).send(f"b-{n}", new.Note("x"))) for n in range(12)]

    async def main():
        async with AsyncExitStack() as stack:
            urls = [await engine(stack, older), await engine(stack, newer)]
            async with connect(urls, newer) as jobs:
                results = [await attempt(jobs.handle(newer).send(f"a-{n}", new.Note("x"))) for n in range(12)]
            return results + await asyncio.to_thread(ask, urls)

    assert {type(result) for result in asyncio.run(main())} == {Success}


def ended(kind: Any, result: Any, value: Any) -> Any:
    """Return a job whose instances end at once with a value."""

    @program
    def end(_: Any) -> Do[Any]:
        yield from succeed(None)
        return value

    if kind is Workflow:
        return Workflow("ends", state=int, run=end, result=result, keep="1 day")
    return WorkerPool("ends", item=int, work=end, workers=1, result=result)


@pytest.mark.parametrize("kind", [Workflow, WorkerPool])
def test_a_result_that_the_client_cannot_read_is_a_typed_error(kind: Any):
    """Of a class or a form that it does not know, or does not take any more."""

    async def outcomes(server: Any, client: Any) -> Any:
        async with AsyncExitStack() as stack:
            local = await stack.enter_async_context(App(None).with_jobs(server).open("memory://"))
            (served,) = await stack.enter_async_context(serving(local, ["127.0.0.1:0"]))
            jobs = local.handle(server)
            await (jobs.start("a", 0) if kind is Workflow else jobs.put("a", 0))
            await local.until(server, "a")
            remote = await stack.enter_async_context(connect(served.urls[0], client))
            return await attempt(remote.handle(client).outcome("a"))

    text, number = ended(kind, str, "x"), ended(kind, int, 1)
    assert asyncio.run(outcomes(number, number)) == Success(Done(1))
    for server, client in ((text, number), (number, text)):
        error = asyncio.run(outcomes(server, client)).failure()
        assert isinstance(error, Undecodable)
        assert error.address == f"{server.kind}:ends:a"
        assert error.problems[0].startswith("$: ")
