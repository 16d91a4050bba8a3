"""A request that fails says whether it may have been applied."""

import asyncio
import subprocess
import sys
from contextlib import suppress

import orjson
import pytest
from returns.result import Success

from perdure import Decision, Task
from perdure.client.gateway import attempt
from perdure.remote import connect, connect_sync
from perdure.remote.async_channel import BatchRefused, CallBatcher
from perdure.remote.channel import AnswerLost, ClientClosed, HttpReply, NotSent
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.values.errors import EngineClosed, OutcomeUnknown, ServerUnreachable, UnknownJob
from perdure.values.listings import HoldResult
from perdure.wire.requests import Envelope

total = Task("total", state=int, event=int, initial=0, decide=lambda state, event: Success(Decision(state + event)))
other = Task("total", state=int, event=int, initial=0, decide=lambda state, event: Success(Decision(state - event)))


def with_responses(*responses, timeout):
    """Send a keyed request to a server that answers so; b"" closes the connection. Return error and count."""

    async def main():
        count, left = 0, list(responses)

        async def serve(reader, writer):
            nonlocal count
            with suppress(asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                count += 1
                writer.write(left.pop(0))
                if not left:
                    listening.close()
            writer.close()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with listening, connect(url, total, timeout=timeout) as jobs:
            return (await attempt(jobs.handle(total).send("a", 1, idempotency_key="k"))).failure(), count

    return asyncio.run(main())


def test_a_lost_answer_stays_in_doubt_when_the_server_does_not_come_back():
    error, count = with_responses(b"", timeout="100 ms")
    assert (type(error), count) == (OutcomeUnknown, 1)


@pytest.mark.parametrize("body", [b"nginx", b'{"message": "nginx has no route"}', b'["nginx"]'])
@pytest.mark.parametrize("status", [b"301 Moved", b"404 Not Found", b"413 Too Large"])
def test_a_server_that_is_not_an_engine_is_named_without_repeats(status, body):
    """Also a gateway that answers with JSON of its own."""
    response = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)
    error, count = with_responses(response, response, timeout="30 seconds")
    assert (type(error), count) == (ServerUnreachable, 1)
    assert "nginx" in error.reason


WORDS_OF_THE_PARSER = ("h11", "protocol", "MUST_CLOSE", "NEED_DATA", "ConnectionClosed", "illegal", "status line")


@pytest.mark.parametrize("timeout", ["100 ms", "2 seconds"])
@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x15\x03\x01\x00\x02\x02\x50",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: no name\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 " + b"9" * 20 + b" OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
    ],
)
def test_an_error_names_no_state_of_the_parser(response, timeout):
    error, _ = with_responses(response, timeout=timeout)
    assert isinstance(error, (OutcomeUnknown, ServerUnreachable))
    assert [word for word in WORDS_OF_THE_PARSER if word.lower() in str(error).lower()] == []


def answered_the_second_time(call):
    """Make a call to a server that closes its first connection, and then answers. Return result and count."""

    async def main():
        count = 0

        async def serve(reader, writer):
            nonlocal count
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            line = orjson.loads(await reader.readexactly(size))
            count += 1
            if count > 1:
                reply = orjson.dumps({"n": line["n"], "answer": None})
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s\n" % (len(reply) + 1, reply))
            writer.close()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with listening, connect(url, total, timeout="30 seconds") as jobs:
            return await attempt(call(jobs.handle(total))), count

    return asyncio.run(main())


def test_a_read_is_repeated_after_its_answer_was_lost():
    result, count = answered_the_second_time(lambda handle: handle.get_state("a"))
    assert (result, count) == (Success(None), 2)


def test_a_request_without_a_key_is_not_repeated_after_its_answer_was_lost():
    result, count = answered_the_second_time(lambda handle: handle.send("a", 1))
    assert (type(result.failure()), count) == (OutcomeUnknown, 1)


def performed(call, answer):
    """Perform an operation on a server that closes its first connection, and then answers. Return result and count."""

    async def main():
        count = 0

        async def serve(reader, writer):
            nonlocal count
            await reader.readuntil(b"\r\n\r\n")
            count += 1
            if count > 1:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))
            writer.close()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with listening, connect(url, total, timeout="30 seconds") as jobs:
            return await attempt(call(jobs)), count

    return asyncio.run(main())


def test_an_operation_that_changes_something_is_not_repeated_after_its_answer_was_lost():
    for call in (lambda jobs: jobs.redrive(7), lambda jobs: jobs.bury(7)):
        result, count = performed(call, b'"not_found"')
        assert (type(result.failure()), count) == (OutcomeUnknown, 1)


def test_an_operation_whose_repeat_changes_nothing_is_repeated_after_its_answer_was_lost():
    held = b'{"changed":false,"hold":"held"}'
    assert performed(lambda jobs: jobs.handle(total).hold(), held) == (
        Success(HoldResult(changed=False, hold="held")),
        2,
    )
    assert performed(lambda jobs: jobs.dead_letters(), b"[]") == (Success(()), 2)


def batched(count, post, **options):
    """Make calls at once through a batcher; return their replies or errors."""

    async def main():
        batcher = CallBatcher(post, 1, asyncio_runtime(), **options)
        envelope = Envelope(number=0, kind="task", job="total", id="a", action="send")
        return await asyncio.gather(*(batcher.call(envelope, 30_000) for _ in range(count)), return_exceptions=True)

    return asyncio.run(main())


def test_a_batch_that_is_too_large_is_sent_in_halves():
    sizes = []

    async def post(lines, _):
        numbers = [orjson.loads(line)["n"] for line in lines.split(b"\n")]
        sizes.append(len(numbers))
        if len(numbers) > 2:
            raise BatchRefused(HttpReply(413, b""))
        for number in numbers:
            yield orjson.dumps({"n": number, "answer": number})

    replies = batched(5, post)
    assert [reply.body for reply in replies] == [1, 2, 3, 4, 5]
    assert sizes == [5, 2, 3, 1, 2]


def test_requests_beyond_those_that_may_wait_are_refused():
    async def post(lines, _):
        for line in lines.split(b"\n"):
            yield orjson.dumps({"n": orjson.loads(line)["n"], "answer": 0})

    replies = batched(4, post, max_waiting=3)
    assert [reply.form for reply in replies] == ["answer"] * 3 + ["problem"]
    assert replies[3].body["code"] == "overloaded"


def test_a_request_that_waited_for_a_connection_was_not_sent():
    async def main():
        released, posted = asyncio.Event(), []

        async def post(lines: bytes, _: float):
            posted.append(lines)
            await released.wait()
            yield b""

        batcher = CallBatcher(post, 1, asyncio_runtime())
        envelope = Envelope(number=0, kind="task", job="total", id="a", action="send")
        sent = asyncio.ensure_future(batcher.call(envelope, 60))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        failures = await asyncio.gather(sent, batcher.call(envelope, 60), return_exceptions=True)
        released.set()
        for _ in range(10):  # the batch ends, and the next one would begin
            await asyncio.sleep(0)
        await batcher.close()
        return [type(failure) for failure in failures], len(posted)

    assert asyncio.run(main()) == ([AnswerLost, NotSent], 1)


def test_a_request_that_waits_when_the_client_closes_is_not_sent():
    async def main():
        posted: list[bytes] = []

        async def post(lines: bytes, _: float):
            posted.append(lines)
            await asyncio.Event().wait()
            yield b""

        batcher = CallBatcher(post, 1, asyncio_runtime())
        envelope = Envelope(number=0, kind="task", job="total", id="a", action="send")
        calls = []
        for _ in range(2):
            calls.append(asyncio.ensure_future(batcher.call(envelope, 60_000)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await batcher.close()
        failures = await asyncio.gather(*calls, batcher.call(envelope, 60_000), return_exceptions=True)
        return [type(failure) for failure in failures], len(posted)

    assert asyncio.run(main()) == ([AnswerLost, ClientClosed, ClientClosed], 1)


def test_a_client_that_is_closed_refuses_every_call():
    closed = EngineClosed("this client is closed: its block has ended")

    async def main():
        async with connect("http://127.0.0.1:9", total) as jobs:
            pass
        calls = (jobs.handle(total).send("a", 1, idempotency_key="k"), jobs.health())
        return [str((await attempt(call)).failure()) for call in calls]

    with connect_sync("http://127.0.0.1:9", total) as sync:
        pass
    calls = (sync.handle(total).send("a", 1, idempotency_key="k"), sync.health())
    assert asyncio.run(main()) == [str(sync.attempt(call).failure()) for call in calls] == [str(closed)] * 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "this client did not receive task:total (received: none)"),
        ((other,), "this client received another definition of task:total (received: task:total)"),
    ],
)
def test_a_definition_that_the_client_did_not_receive_is_named(given, said):
    with connect_sync("http://127.0.0.1:9", *given) as jobs, pytest.raises(UnknownJob) as refused:
        jobs.handle(total)
    assert str(refused.value) == f"{said}; pass its definition: connect(url, ..., definition)"


def test_without_the_extra_the_missing_module_is_named():
    code = "import sys; sys.modules['httpx2'] = None; from perdure.remote import connect_sync\n"
    code += "with connect_sync('http://127.0.0.1:9'): pass"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    assert "httpx2" in ended.stderr
    assert "connect_sync: expected the extra 'client': pip install 'perdure[client]'; got ModuleNotFoundError" in (
        ended.stderr
    )
