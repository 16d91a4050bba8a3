"""A client of another process returns the same as a client in process: answers, errors, explanations and histories."""

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from typing import Any

import attrs
import pytest
from attrs import frozen
from returns.result import Failure, Result, Success

from perdure import (
    Alarm,
    App,
    Continuous,
    ContinuousContext,
    Debounce,
    DebounceContext,
    Decision,
    Do,
    Limits,
    Task,
    every,
    fail,
    program,
)
from perdure.client.gateway import attempt
from perdure.client.local_gateway import acting_for
from perdure.programs import sleep
from perdure.remote import connect, connect_sync
from perdure.remote.async_channel import MAX_WAITING
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.server.http_limits import HttpLimits
from perdure.server.serving import serving
from perdure.values.errors import (
    DefinitionError,
    InvalidArgument,
    InvalidInput,
    OutcomeUnknown,
    Overloaded,
    ServerUnreachable,
)


@frozen
class Count:
    n: int = 0
    at: datetime | None = None


@frozen
class Refused:
    n: int
    why: str


def decide(count: Count, event: int) -> Result[Decision[Count], Refused]:
    if event == 13:
        raise RuntimeError("thirteen")
    if event < 0:
        return Failure(Refused(event, "negative"))
    return Success(Decision(Count(count.n + event, datetime(2026, 1, 1, tzinfo=UTC)), Alarm.after("1 hour")))


@program
def failing(ctx: ContinuousContext[Count]) -> Do[None, Refused, None]:
    state = yield from ctx.state
    yield from fail(Refused(state.n, "run"))


counter = Task(
    "counter", state=Count, event=int, initial=Count(), decide=decide, execute=lambda ctx: ctx.terminate("done")
)
ticker = Continuous("ticker", state=Count, schedule=every("1 hour"), execute=failing)


@program
def flushed(ctx: DebounceContext[Count]) -> Do[None, Refused, None]:
    yield from ctx.state


batch = Debounce(
    "batch",
    state=Count,
    event=int,
    initial=Count(),
    on_event=lambda ctx, event: ctx.state,
    flush_after="1 hour",
    execute=flushed,
)
app = App(None).with_jobs(counter, ticker, batch)


def of_limits(jobs: Any) -> list[Callable[[], Any]]:
    absent = lambda: jobs.set_limit("absent", rate=(1, "1 s"))  # noqa: E731 - as its neighbours
    return [jobs.limits, absent, lambda: jobs.set_limit("phones", concurrency=0), lambda: jobs.reset_limit("phones")]


def calls(jobs: Any) -> list[Callable[[], Any]]:
    """Every call of a client and of its handles, in an order that reaches each form of answer and of error."""
    numbers, ticks, batches = jobs.handle(counter), jobs.handle(ticker), jobs.handle(batch)
    named = jobs.handle_by_name("task", "counter")
    return [
        lambda: numbers.status("a"),
        lambda: numbers.get_state("a"),
        lambda: numbers.trigger("a"),
        lambda: jobs.explain(counter, "a", lambda to: to.send(2), idempotency_key="k"),
        lambda: numbers.send("a", 2, idempotency_key="k"),
        lambda: numbers.send("a", 2, idempotency_key="k"),
        lambda: numbers.send("a", 3, idempotency_key="k"),
        lambda: numbers.send("a", -1),
        lambda: numbers.send("a", 13),
        lambda: numbers.send("a", "text"),
        lambda: numbers.send("", 1),
        lambda: numbers.send("a", 1, idempotency_key="x" * 10_000),
        lambda: numbers.trigger("a", wait_for="soon"),
        lambda: numbers.get_state("a"),
        lambda: jobs.explain(counter, "a", "alarm"),
        lambda: jobs.explain(counter, "a", lambda to: to.send(-1)),
        lambda: numbers.pause("a"),
        lambda: numbers.status("a"),
        lambda: numbers.trigger("a"),
        lambda: numbers.resume("a"),
        lambda: ticks.start("a", Count(5)),
        lambda: ticks.start("a", Count(6)),
        lambda: ticks.trigger("a"),
        lambda: ticks.status("a"),
        lambda: batches.add("b/ü", 1),
        lambda: batches.add("b/ü", 2),
        lambda: batches.status("b/ü"),
        lambda: batches.flush("b/ü"),
        lambda: batches.flush("b/ü"),
        lambda: batches.clear("b/ü"),
        jobs.list,
        lambda: jobs.list(counter, status="scheduled", limit=1),
        lambda: jobs.list(status="weird"),
        lambda: jobs.list(due_before=datetime(2030, 1, 1, tzinfo=UTC), kind="continuous"),
        lambda: jobs.history(counter, "a"),
        lambda: jobs.history(ticker, "a", limit=2),
        *(jobs.dead_letters, lambda: jobs.redrive(7), jobs.left_messages, lambda: jobs.bury(7), *keys(jobs)),
        *(jobs.health, jobs.counts),
        *(jobs.demand, lambda: jobs.demand(within="2 hours"), lambda: jobs.demand(within="soon")),
        jobs.members,
        *of_limits(jobs),
        jobs.metrics,
        jobs.info,
        jobs.in_flight,
        lambda: named.call("send", "c", "4"),
        lambda: named.call("send", "c", '"text"'),
        lambda: named.call("fly", "c"),
        lambda: named.call("terminate", "c", '"bye"', interrupt=True),
        lambda: named.get_state("a"),
        lambda: named.shown_state("a"),
        lambda: named.history("c"),
        lambda: named.explain("send", "a", "1"),
        *waits(jobs),
        lambda: numbers.terminate("a", "enough", interrupt=True),
        lambda: jobs.until(counter, "a"),
    ]


def keys(jobs: Any) -> list[Callable[[], Any]]:
    return [
        *(lambda key=key: jobs.forget_key(counter, "a", key) for key in ("new", "", "\ud800")),
        lambda: jobs.handle_by_name("task", "counter").forget_key("c", "new"),
    ]


def waits(jobs: Any) -> list[Callable[[], Any]]:
    named = jobs.handle_by_name("task", "counter")
    return [
        lambda: named.shown_outcome("a"),
        *(jobs.handle(counter).hold, named.hold, jobs.handle(counter).count, named.count),
        lambda: jobs.handle(counter).trigger("a"),
        *(jobs.handle(counter).release, named.release),
        lambda: jobs.until(counter, "a", "scheduled", "idle"),
        lambda: jobs.until(counter, "a", timeout="0 ms"),
        lambda: jobs.until(counter, "a", timeout="1 ms", phases=("a phase",)),
        lambda: jobs.until(counter, "nowhere"),
        lambda: jobs.until(counter, "a", "soon"),
        lambda: named.until("c"),
    ]


IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def seen(result: Any) -> str:
    """The result as text, with its ids by the order of their first occurrence, and without the name of the caller."""
    names: dict[str, str] = {}
    text = IDS.sub(lambda found: names.setdefault(found[0], f"id-{len(names)}"), repr(result))
    return re.sub(r"\bby='(owner|local)'", "by=None", text)


def an_engine():
    """The app on a memory store, with the same clock, random values and ids for each run of the scenario."""
    ids = count(1_800_000_000_000 << 80, 1 << 64)
    fixed = attrs.evolve(
        asyncio_runtime(), now_ms=lambda: 1_800_000_000_000, random=lambda: 0.5, new_id=lambda: next(ids)
    )
    return app.open("memory://", runtime=fixed)


async def in_process(by: str) -> list[Any]:
    """Call as the server does for a caller, whose name events contain."""
    async with an_engine() as jobs:
        return [await attempt(call()) for call in calls(acting_for(jobs, by))]


async def over(bind: str) -> list[Any]:
    async with (
        an_engine() as local,
        serving(local, [bind]) as (server,),
        connect(server.urls[0], counter, ticker, batch) as jobs,
    ):
        return [await attempt(call()) for call in calls(jobs)]


async def in_a_thread(bind: str) -> list[Any]:
    def ask(url: str) -> list[Any]:
        with connect_sync(url, counter, ticker, batch) as jobs:
            return [jobs.attempt(call()) for call in calls(jobs)]

    async with an_engine() as local, serving(local, [bind]) as (server,):
        return await asyncio.to_thread(ask, server.urls[0])


@pytest.mark.parametrize("way", [over, in_a_thread])
@pytest.mark.parametrize("bind", ["127.0.0.1:0", "unix:{}/engine.sock"])
def test_a_remote_client_returns_the_results_of_a_local_one(way, bind, tmp_path):
    expected = asyncio.run(in_process("owner" if bind.startswith("unix") else "local"))
    found = asyncio.run(way(bind.format(tmp_path)))
    for number, (here, there) in enumerate(zip(expected, found, strict=True)):
        assert seen(there) == seen(here), number


def served(scenario, bind="127.0.0.1:0", **options):
    """Run a scenario with a client of an engine of its own; return its result."""

    async def main():
        async with (
            an_engine() as local,
            serving(local, [bind]) as (server,),
            connect(server.urls[0], *options.pop("definitions", (counter,)), **options) as jobs,
        ):
            return await scenario(jobs)

    return asyncio.run(main())


def test_an_input_of_another_type_is_refused_and_its_place_is_named():
    other = Task("counter", state=Count, event=str, initial=Count(), decide=lambda count, _: Success(Decision(count)))

    async def scenario(jobs):
        return await attempt(jobs.handle(other).send("a", "text")), await attempt(jobs.handle(other).status("a"))

    refused, status = served(scenario, definitions=(other,))
    assert isinstance(refused.failure(), InvalidInput)
    assert refused.failure().problems[0].startswith("$")
    assert isinstance(status, Success)


def test_calls_of_one_moment_are_one_batch_and_each_is_answered():
    async def scenario(jobs):
        numbers = jobs.handle(counter)
        sent = [attempt(numbers.send("a", 1)) for _ in range(700)]
        answers = await asyncio.gather(*sent, attempt(numbers.send("a", -1)))
        return [type(answer) for answer in answers], (await attempt(numbers.get_state("a"))).unwrap().n

    kinds, total = served(scenario)
    assert (kinds, total) == ([Success] * 700 + [Failure], 700)


def test_a_batch_that_is_too_large_for_the_server_is_sent_in_halves():
    async def main():
        async with (
            an_engine() as local,
            serving(local, ["127.0.0.1:0"], limits=HttpLimits(batch_lines=7)) as (server,),
            connect(server.urls[0], counter) as jobs,
        ):
            numbers = jobs.handle(counter)
            answers = await asyncio.gather(*(attempt(numbers.send("a", 1)) for _ in range(50)))
            return {type(answer) for answer in answers}, (await attempt(numbers.get_state("a"))).unwrap().n

    assert asyncio.run(main()) == ({Success}, 50)


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "unix:{}/engine.sock"])
def test_a_body_that_is_too_large_for_the_server_is_refused_and_not_in_doubt(bind, tmp_path):
    large = f'"{"x" * 12_000_000}"'  # more than the sockets of both sides hold

    def requests(jobs):
        named = jobs.handle_by_name("task", "counter")
        return named.call("send", "a", large), named.explain("send", "a", large)

    limits = HttpLimits(body_bytes=100_000)

    async def main():
        async with an_engine() as local, serving(local, [bind.format(tmp_path)], limits=limits) as (server,):
            async with connect(server.urls[0], counter) as jobs:
                found = [await attempt(request) for request in requests(jobs)]

            def in_a_thread():
                with connect_sync(server.urls[0], counter) as jobs:
                    return [jobs.attempt(request) for request in requests(jobs)]

            return [*found, *await asyncio.to_thread(in_a_thread)]

    refused = [each.failure() for each in asyncio.run(main())]
    assert {str(each) for each in refused} == {
        str(InvalidArgument("body of the request", "a larger one", "at most 100000 bytes"))
    }


def test_more_unsent_requests_than_the_limit_are_refused_and_none_is_lost():
    async def scenario(jobs):
        numbers = jobs.handle(counter)
        answers = await asyncio.gather(*(attempt(numbers.status("a")) for _ in range(MAX_WAITING + 1)))
        refused = [answer.failure() for answer in answers if isinstance(answer, Failure)]
        return len(answers) - len(refused), [type(error) for error in refused]

    assert served(scenario, max_connections=1) == (MAX_WAITING, [Overloaded])


def test_a_server_that_does_not_answer_is_named_with_the_command_that_starts_it(tmp_path):
    async def main(url):
        async with connect(url, counter, timeout="500 ms") as jobs:
            return (await attempt(jobs.handle(counter).send("a", 1))).failure()

    start = "start the engine of that file: perdure run MODULE:APP --store"
    for url, hint in (
        ("http://127.0.0.1:9", "perdure serve"),
        (f"http+unix://{tmp_path}/no.sock", f"no socket {tmp_path}/no.sock; start the engine"),
        (
            f"sqlite:////{tmp_path}/jobs.db",
            f"no socket jobs.db.sock beside the file; {start} sqlite:////{tmp_path}/jobs.db",
        ),
    ):
        refused = asyncio.run(main(url))
        assert isinstance(refused, ServerUnreachable)
        assert refused.server == url
        assert hint in refused.reason


def test_a_call_that_is_too_slow_is_in_doubt_and_the_next_one_is_answered():
    stuck = Task("stuck", state=Count, event=int, initial=Count(), on_event=lambda *_: sleep("1 hour"), execute=failing)

    async def main():
        async with (
            App(None, limits=Limits(shutdown_timeout="0 ms")).with_jobs(stuck).open("memory://") as local,
            serving(local, ["127.0.0.1:0"], shutdown_timeout="0 ms") as (server,),
            connect(server.urls[0], stuck, timeout="50 ms") as jobs,
        ):
            late = await attempt(jobs.handle(stuck).send("a", 1))
            return late, await attempt(jobs.handle(stuck).status("a"))

    late, status = asyncio.run(main())
    assert isinstance(late.failure(), OutcomeUnknown)
    assert status.unwrap().status == "not_found"


@pytest.mark.parametrize(
    "url", ["", "ftp://host", "http://", "http://user:pw@host", "http+unix://host/x", "http+unix:///", "memory://", 7]
)
def test_a_url_of_no_server_is_refused(url):
    with pytest.raises(DefinitionError, match="http://host:port"):
        asyncio.run(connect(url).__aenter__())


@pytest.mark.parametrize(
    ("url", "advice"), [("sqlite://jobs.db", "sqlite:///relative.db"), ("jobs.db", "did you mean 'sqlite:///jobs.db'")]
)
def test_a_url_of_no_server_is_refused_with_the_one_that_was_meant(url, advice):
    with pytest.raises(DefinitionError) as refused:
        asyncio.run(connect(url).__aenter__())
    assert advice in str(refused.value)
    assert "memory" not in str(refused.value)
