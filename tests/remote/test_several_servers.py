"""A client of several engines: a call goes to another one when one cannot take it, and is never applied twice."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, closing
from typing import Any, Literal, get_args

import attrs
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from returns.result import Failure, Success

from perdure import App, Continuous, Decision, PoolBatch, Task, WorkerPool, every, succeed
from perdure.client.client import Client, gateway_of
from perdure.client.gateway import attempt
from perdure.client.local_gateway import engine_of
from perdure.remote import connect, connect_sync
from perdure.remote.async_channel import Connections
from perdure.remote.channel import AnswerLost, HttpReply, NotSent
from perdure.remote.servers import AWAY_MS, MAX_AWAY_MS, MAX_SERVERS, Server, ServerCall, Servers
from perdure.remote.transport_errors import limits_of
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.server.serving import serving
from perdure.values.errors import (
    AccessDenied,
    DefinitionError,
    EngineClosed,
    InstanceParked,
    InvalidInput,
    OutcomeUnknown,
    Overloaded,
    PerdureError,
    Rejected,
    ServerUnreachable,
    StoreUnavailable,
    UnknownJob,
)
from perdure.wire.problems import problem_of
from perdure.wire.requests import BatchReply, Envelope

total = Task("total", state=int, event=int, initial=0, decide=lambda state, event: Success(Decision(state + event)))
other = Task("other", state=int, event=int, initial=0, decide=lambda state, event: Success(Decision(state + event)))
ticker = Continuous("ticker", state=int, schedule=every("1 hour"), execute=lambda ctx: ctx.set_state(1))
pool = WorkerPool("pool", item=int, work=lambda ctx: succeed(None), result=type(None))
batch = PoolBatch("batch", pool=pool)


def closed_port() -> str:
    """A URL at which no process listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}"


async def engine(stack: AsyncExitStack, *jobs: Any) -> tuple[str, Client]:
    """Open an engine with a store of its own; return its URL and its client."""
    local = await stack.enter_async_context(App(None).with_jobs(*jobs).open("memory://"))
    (server,) = await stack.enter_async_context(serving(local, ["127.0.0.1:0"]))
    return server.urls[0], local


async def sent_to_some(urls: list[str], **options: Any) -> list[Any]:
    """Send an event to each of forty instances, so that every server is the first one of some of them."""
    async with connect(urls, total, **options) as jobs:
        return [await attempt(jobs.handle(total).send(f"a-{n}", 1)) for n in range(40)]


def test_a_call_goes_to_another_engine_if_one_is_away():
    async def main():
        async with AsyncExitStack() as stack:
            url, _ = await engine(stack, total)
            return await sent_to_some([closed_port(), url, closed_port()])

    assert {type(result) for result in asyncio.run(main())} == {Success}


def test_a_client_without_an_event_loop_goes_to_another_engine_too():
    def ask(urls: list[str]) -> list[Any]:
        with connect_sync(urls, total) as jobs:
            return [jobs.attempt(jobs.handle(total).send(f"a-{n}", 1)) for n in range(40)]

    async def main():
        async with AsyncExitStack() as stack:
            url, _ = await engine(stack, total)
            return await asyncio.to_thread(ask, [closed_port(), url])

    assert {type(result) for result in asyncio.run(main())} == {Success}


def test_a_call_goes_to_another_engine_if_one_stops():
    async def main():
        async with AsyncExitStack() as stack:
            (stopping, local), (url, _) = await engine(stack, total), await engine(stack, total)
            engine_of(local).begin_stop()
            return await sent_to_some([stopping, url])

    assert {type(result) for result in asyncio.run(main())} == {Success}


def test_a_call_goes_to_another_engine_if_one_does_not_know_the_job():
    async def main():
        async with AsyncExitStack() as stack:
            (older, _), (newer, _) = await engine(stack, other), await engine(stack, other, total)
            return await sent_to_some([older, newer]), await sent_to_some([older])

    both, older = asyncio.run(main())
    assert {type(result) for result in both} == {Success}
    assert {type(result.failure()) for result in older} == {UnknownJob}


def test_engines_that_are_away_are_all_named():
    urls = [closed_port(), closed_port()]
    refused = asyncio.run(sent_to_some(urls, timeout="50 ms"))[0].failure()
    assert isinstance(refused, ServerUnreachable)
    assert refused.server == ", ".join(urls)
    assert all(f"{url}: " in refused.reason for url in urls)


@pytest.mark.parametrize("urls", [[], ["http://a", "http://a/"], [f"http://a{n}" for n in range(MAX_SERVERS + 1)], [7]])
def test_urls_of_a_client_are_checked(urls: list[str]) -> None:
    with pytest.raises(DefinitionError):
        asyncio.run(connect(urls).__aenter__())


# ---------------------------------------------------------------- lost answers
def losing(call: Callable[[Client], Awaitable[Any]], *, timeout: str = "30 seconds") -> tuple[Any, list[Any]]:
    """Make a call to a server that reads one request and closes the connection, beside an engine.

    Return the result, and the requests that the first server read.
    """

    async def main():
        read = list[Any]()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            read.append(orjson.loads(await reader.readexactly(size)))
            writer.close()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        losing_url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with AsyncExitStack() as stack:
            url, _ = await engine(stack, total, ticker, pool, batch)
            async with listening, connect([losing_url, url], total, ticker, pool, batch, timeout=timeout) as jobs:
                return await call(jobs), read

    return asyncio.run(main())


IDS = range(40)


async def each(call: Callable[[str], Any]) -> list[Any]:
    """Make a call about each of forty instances: each server is the first one of some."""
    return [await attempt(call(f"a-{n}")) for n in IDS]


def test_requests_that_may_be_repeated_survive_lost_answers():
    async def keyed(jobs: Client) -> list[Any]:
        return await each(lambda id_: jobs.handle(total).send(id_, 1, idempotency_key=id_))

    async def reads(jobs: Client) -> list[Any]:
        return await each(jobs.handle(total).get_state)

    async def puts(jobs: Client) -> list[Any]:
        return await each(lambda id_: jobs.handle(pool).put(id_, 1))

    async def starts(jobs: Client) -> list[Any]:
        return await each(lambda id_: jobs.handle(ticker).start(id_, 1))

    async def puts_by_name(jobs: Client) -> list[Any]:
        return await each(lambda id_: jobs.handle_by_name("pool", "pool").call("put", id_, '{"item":1}'))

    async def starts_by_name(jobs: Client) -> list[Any]:
        named = jobs.handle_by_name(ticker.kind, ticker.name)
        return await each(lambda id_: named.call("start", id_, "1"))

    for call in (keyed, reads, puts, starts, puts_by_name, starts_by_name):
        results, read = losing(call)
        assert {type(result) for result in results} == {Success}
        assert read


def test_a_request_that_may_not_be_repeated_is_in_doubt_only_where_it_was_read():
    async def unkeyed(jobs: Client) -> list[Any]:
        return await each(lambda id_: jobs.handle(total).send(id_, 1))

    results, read = losing(unkeyed)
    lost = {f"a-{n}" for n, result in zip(IDS, results, strict=True) if isinstance(result, Failure)}
    assert lost == {request["id"] for request in read}
    assert {type(result.failure()) for result in results if isinstance(result, Failure)} == {OutcomeUnknown}


def test_a_start_that_a_repeat_could_begin_again_has_a_key_and_a_put_needs_none():
    async def starts(jobs: Client) -> None:
        await each(lambda id_: jobs.handle(ticker).start(id_, 1))

    async def puts(jobs: Client) -> None:
        await each(lambda id_: jobs.handle(pool).put(id_, 1))

    async def batches(jobs: Client) -> None:
        await each(lambda id_: jobs.handle(batch).put(id_, {id_: 1}))

    read = losing(starts)[1] + losing(puts)[1]
    assert {(request["action"], "key" in request) for request in read} == {("start", True), ("put", False)}
    # A batch counts a repeat, so its put has one.
    assert {(request["action"], "key" in request) for request in losing(batches)[1]} == {("put", True)}


@pytest.mark.parametrize(
    ("keep", "repeat"), [(None, "changes_nothing"), ("10 minutes", "changes_nothing"), ("599 s", "applies_again")]
)
def test_a_put_is_repeated_only_if_its_id_is_kept_for_long(keep: str | None, repeat: str):
    kept = WorkerPool("pool", item=int, work=lambda ctx: succeed(None), result=type(None), keep=keep)
    assert kept.plan.commands["put"].repeat == repeat


def test_a_read_without_an_answer_is_not_in_doubt():
    async def main():
        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with listening, connect(url, total, timeout="50 ms") as jobs:
            calls = (jobs.handle(total).get_state("a"), jobs.health(), jobs.handle_by_name("task", "total").status("a"))
            return [(await attempt(call)).failure() for call in calls]

    assert [type(error) for error in asyncio.run(main())] == [ServerUnreachable] * 3


# ---------------------------------------------------------------- memory of failures, and limits
class Clock:
    """The runtime of a client whose time the test sets."""

    now = 0.0

    async def concurrently(self, _: object, /) -> Any:
        raise NotImplementedError

    async def pause(self, delay_ms: float, /) -> None:
        self.now += delay_ms

    def now_ms(self) -> float:
        return self.now

    def new_key(self) -> str:
        return "key"


class Recording:
    """A server that answers nothing, and notes how long a client waits for its answer."""

    def __init__(self) -> None:
        self.limits_ms = list[float]()

    async def call(self, envelope: Envelope, timeout_ms: float, /) -> Any:
        self.limits_ms.append(timeout_ms)
        return BatchReply(envelope.number, "problem", problem_of(Rejected("no"), total.plan.errors))

    async def http(self, method: str, path: str, timeout_ms: float, content: bytes, key: str | None, /) -> HttpReply:
        self.limits_ms.append(timeout_ms)
        return HttpReply(403, orjson.dumps(problem_of(AccessDenied("read", "small_scope", "no"))))


def test_a_call_that_waits_for_a_run_or_a_status_has_a_limit_of_its_own():
    async def main():
        async with connect("http://127.0.0.1:9", total, ticker) as jobs:
            channel = Recording()
            servers = Servers((Server("http://a", channel, str),), Clock(), 10_000)
            limited = Client(attrs.evolve(gateway_of(jobs), servers=servers))  # type: ignore[call-overload]
            task, recurring, named = limited.handle(total), limited.handle(ticker), limited.handle_by_name
            for call in (
                task.send("a", 1),
                task.status("a"),
                task.trigger("a", wait_for="start"),
                task.terminate("a", interrupt=True),
                task.trigger("a"),
                task.terminate("a"),
                recurring.start("a", 1),
                named("task", "total").call("trigger", "a"),
                limited.until(total, "a", timeout="1 hour"),
            ):
                await attempt(call)
            return channel.limits_ms

    assert asyncio.run(main()) == [10_000] * 4 + [60_000] * 4 + [30_000]


Behaviour = Literal["answers", "away", "stops", "loses", "hangs"]
"""There are `loses late` and `refuses` too, which the properties do not draw."""


class Network:
    """Servers that behave as the test says, and the requests that they received."""

    def __init__(self, *behaviours: Behaviour) -> None:
        self.behaviours, self.clock = list[Any](behaviours), Clock()
        self.tried, self.limits_ms, self.began_ms = list[int](), list[float](), list[float]()
        urls = [f"http://{n}" for n in range(len(behaviours))]
        self.servers = Servers(tuple(Server(url, self.channel, str) for url in urls), self.clock, 1_000)

    channel: Any = None
    error: Any = None
    ended: Any = None

    def call(self, about: str, repeat: Any = "reads", waits_ms: float = 0) -> list[int]:
        """Make a call; return the servers that it tried."""
        self.tried, self.limits_ms, self.began_ms = [], [], []

        async def send(server: Server, limit_ms: float) -> Any:
            number = int(server.name.removeprefix("http://"))
            self.tried.append(number)
            self.limits_ms.append(limit_ms)
            self.began_ms.append(self.clock.now)
            match self.behaviours[number]:
                case "hangs":
                    self.clock.now += limit_ms
                    raise AnswerLost("no answer in time")
                case "away":
                    raise NotSent("refused")
                case "loses":
                    raise AnswerLost("closed")
                case "stops":
                    failure: PerdureError = EngineClosed()
                    return Failure(failure)
                case "loses late":
                    self.clock.now, self.behaviours[number] = self.clock.now + 15_000, "answers"
                    raise AnswerLost("closed")
                case "answers":
                    return Success(1)
                case _:
                    return Failure(self.error)

        ended = asyncio.run(self.servers.perform(send, ServerCall(about=about, repeat=repeat, waits_ms=waits_ms)))
        self.ended = ended.swap().value_or(None)
        return self.tried


FIRST = next(f"a-{n}" for n in IDS if Network("answers", "answers").call(f"a-{n}") == [0])
"""An instance whose first server is the one with number 0."""


@pytest.mark.parametrize(
    ("error", "repeat", "tried"),
    [
        (Overloaded(f"mailbox of task:total:{FIRST}", 1), "reads", [0]),
        (Overloaded("mailbox of task:total:other", 1), "reads", [0, 1]),
        (Overloaded("the engine's queue", 1), "applies_again", [0, 1]),
        (StoreUnavailable("load", "down"), "reads", [0, 1]),
        (StoreUnavailable("commit", "down"), "applies_again", [0]),
        (InstanceParked("task:total:a", "retries_exhausted"), "reads", [0]),
    ],
)
def test_a_refusal_that_another_engine_repeats_is_final(error: PerdureError, repeat: str, tried: list[int]):
    network = Network("answers", "answers")
    network.behaviours[0], network.error = "refuses", error
    assert network.call(FIRST, repeat) == tried


@pytest.mark.parametrize(("waits_ms", "tried"), [(20_000, [0, 0]), (14_000, [0])])
def test_a_wait_whose_answer_was_lost_late_is_repeated_within_its_time(waits_ms: float, tried: list[int]):
    network = Network("answers")
    network.behaviours[0] = "loses late"
    assert network.call("a", "reads", waits_ms) == tried


@pytest.mark.parametrize("behaviour", ["away", "stops", "loses"])
def test_a_server_that_failed_comes_last_for_a_while_and_longer_each_time(behaviour: Behaviour):
    network = Network(behaviour, "answers")
    assert network.call(FIRST) == [0, 1]
    pauses = [500.0, 1_000.0, 2_000.0, 4_000.0, 8_000.0, 8_000.0]
    assert (pauses[0], pauses[-1]) == (AWAY_MS, MAX_AWAY_MS)
    for pause in pauses:
        network.clock.now += pause - 1
        assert network.call(FIRST) == [1]
        network.clock.now += 1
        assert network.call(FIRST) == [0, 1]
    network.behaviours[0] = "answers"
    network.clock.now += MAX_AWAY_MS
    assert [network.call(FIRST), network.call(FIRST)] == [[0], [0]]


@pytest.mark.parametrize(
    ("newer", "access", "result"),
    [(3, "typed", "answered"), (4, "typed", "refused"), (2, "by name", "refused"), (1, "by name", "answered")],
)
def test_a_typed_call_finds_a_newer_engine_behind_a_balancer(newer: int, access: str, result: str):
    """The first attempts reach older engines, which do not know a field of the input."""
    network, tries = Network("answers"), list[float]()

    async def send(_: Server, limit_ms: float) -> Any:
        tries.append(limit_ms)
        refused: PerdureError = InvalidInput("event of 'orders'", ("$['tip']: unknown key",))
        return Success("answered") if len(tries) == newer else Failure(refused)

    call = ServerCall(about="a", repeat="applies_again", typed=access == "typed")
    found = asyncio.run(network.servers.perform(send, call))
    assert found.value_or("refused") == result
    assert len(tries) == min(newer, 3 if access == "typed" else 1)


def test_failures_of_one_moment_count_once():
    network = Network("away", "answers")
    server = network.servers.each[0]
    for _ in range(100):
        server.failed(0, 1)
    assert (server.is_away(AWAY_MS), server.is_away(AWAY_MS + 1)) == (True, False)


def test_a_server_that_is_tried_is_not_away_for_the_calls_beside_it():
    server = Network("answers", "answers").servers.each[0]
    server.tried(1)
    assert not server.is_away(1)


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (Rejected("no stock"), Rejected),  # the job's code has seen the call: its answer is certain
        (InstanceParked("task:total:a", "retries_exhausted"), OutcomeUnknown),
    ],
)
def test_only_an_answer_of_the_jobs_code_ends_the_doubt_about_a_lost_one(second: PerdureError, said: type):
    network = Network("loses", "answers")
    network.behaviours[1] = "refuses"
    network.error = second
    assert network.call(FIRST, "keyed") == [0, 1]
    assert type(network.ended) is said


def test_one_call_finds_out_whether_a_server_is_back():
    network = Network("away", "answers")
    network.call(FIRST)
    network.clock.now += AWAY_MS
    server = network.servers.each[0]
    server.tried(network.clock.now)
    assert network.call(FIRST) == [1]


def test_a_server_that_answers_others_meanwhile_is_not_away():
    network = Network("answers", "answers")
    server = network.servers.each[0]
    server.answered(5)
    server.failed(1, 6)
    assert not server.is_away(6)


@pytest.mark.parametrize(
    ("repeat", "limit_ms"), [("reads", 500), ("keyed", 500), ("changes_nothing", 1_000), ("applies_again", 1_000)]
)
def test_a_server_gets_half_of_the_time_if_another_one_can_answer_in_its_place(repeat: str, limit_ms: float):
    network = Network("answers", "answers")
    network.call(FIRST, repeat)
    assert network.limits_ms == [limit_ms]
    network.call(FIRST, repeat, waits_ms=20_000)
    assert network.limits_ms == [20_000 + limit_ms]


@given(
    st.lists(st.sampled_from(get_args(Behaviour)), min_size=1, max_size=4),
    st.sampled_from(["reads", "keyed", "changes_nothing", "applies_again"]),
    st.sampled_from([0.0, 20_000.0]),
)
@example(["hangs", "answers"], "changes_nothing", 0.0)
def test_no_attempt_of_a_call_begins_or_ends_after_its_time(behaviours: list[Any], repeat: str, waits_ms: float):
    network = Network(*behaviours)
    network.call(FIRST, repeat, waits_ms)
    assert network.tried
    for began_ms, limit_ms in zip(network.began_ms, network.limits_ms, strict=True):
        assert began_ms < began_ms + limit_ms <= 1_000 + waits_ms


def test_a_connection_that_is_not_accepted_is_given_up_after_two_seconds():
    limits = limits_of(10_000)
    assert (limits.connect, limits.read) == (2.0, 10.0)


def test_a_server_that_does_not_accept_a_connection_is_away_at_once():
    async def main(url: str) -> None:
        connections = Connections(
            base=url, socket=None, headers={}, runtime=asyncio_runtime(), tls=ssl.create_default_context, connect_ms=10
        )
        with pytest.raises(NotSent):
            async with connections.exchange("POST", "/", [], b"", 600_000):
                pass

    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each_ in waiting:
            each_.setblocking(False)
            each_.connect_ex(listening.getsockname())
        asyncio.run(main(f"http://127.0.0.1:{listening.getsockname()[1]}"))
        for each_ in waiting:
            each_.close()


def test_a_rejection_is_final():
    async def main():
        async with AsyncExitStack() as stack:
            picky = Task("total", state=int, event=int, initial=0, decide=lambda *_: Failure("no"))
            (first, _), (second, _) = await engine(stack, picky), await engine(stack, picky)
            async with connect([first, second], picky) as jobs:
                return await attempt(jobs.handle(picky).send("a", 1))

    assert isinstance(asyncio.run(main()).failure(), Rejected)
