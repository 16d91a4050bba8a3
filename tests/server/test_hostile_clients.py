"""Attackers beside a healthy client, on real sockets: the share that each of them can take, and probes."""

import asyncio
from collections.abc import Callable
from typing import Any

import attrs
import orjson
import pytest
from hostile import ATTACKS, JOB, READS, SMALL, Scene, batch, request, under_attack
from raw_http import status_of, until

PLACED = b'{"type":"OrderPlaced","owner":"ada","amount":4}'


def attacked(name: str, count: int, then: Any) -> Any:
    """Return the result of `then` while so many attackers are there."""

    async def main() -> Any:
        async with under_attack() as scene:
            for _ in range(count):
                await scene.attack(name)
            await until(lambda: scene.held()["connections"][0] >= min(count, SMALL.connections))
            for _ in range(20):
                await asyncio.sleep(0.001)
            return await then(scene)

    return asyncio.run(main())


async def soon(reached: Callable[[], bool]) -> None:
    """Let the event loop run until a condition holds; fail after a thousand steps, long before any timeout."""
    for _ in range(1_000):
        if reached():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("the condition does not hold")


async def healthy(scene: Scene) -> list[int]:
    """Return the statuses of a healthy client's requests, probes first."""
    sent = [
        request("GET", "/live"),
        request("GET", "/ready"),
        request("POST", f"{JOB}/b/send", PLACED, token="healthy"),  # noqa: S106
        request("GET", "/v1/instances", token="healthy"),  # noqa: S106
        request("POST", "/v1/calls", READS, token="healthy"),  # noqa: S106
    ]
    return [status_of(await scene.exchange(each)) for each in sent]


@pytest.mark.parametrize("name", ATTACKS)
def test_a_healthy_client_is_served_beside_any_attack(name: str):
    async def then(scene: Scene) -> tuple[list[int], dict[str, Any]]:
        return await healthy(scene), scene.beyond()

    assert attacked(name, 20, then) == ([200] * 5, {})


def test_no_body_is_received_before_its_client_is_known():
    async def then(scene: Scene) -> tuple[int, int, list[str]]:
        phases = [each.phase for each in scene.served.connections.all]
        return scene.held()["bodies"][0], scene.held()["requests of one"][0], phases

    for name in ("probe with a body", "page with a body", "body without a token"):
        bodies, requests, phases = attacked(name, SMALL.connections, then)
        assert (bodies, requests) == (0, 0)
        assert set(phases) == {"discarding"}  # a new connection may replace each of them


@pytest.mark.parametrize(("length", "status"), [(None, 200), (0, 200), (1, 413)])
def test_a_probe_takes_no_body(length: int | None, status: int):
    async def main() -> list[int]:
        async with under_attack() as scene:
            sent = [request("GET", path, b"x" * (length or 0), length=length) for path in ("/live", "/ready")]
            return [status_of(await scene.exchange(each)) for each in sent]

    assert asyncio.run(main()) == [status] * 2


def test_probes_have_a_rate_of_their_own():
    async def main() -> tuple[list[int], list[int], list[int]]:
        async with under_attack(attrs.evolve(SMALL, requests_per_second=1, burst=2)) as scene:
            wrong = [await scene.get("/v1/jobs") for _ in range(4)]
            probes = [await scene.get("/live") for _ in range(4)]
            return wrong, probes, [await scene.get("/v1/jobs", "healthy")]

    assert asyncio.run(main()) == ([401, 401, 429, 429], [200, 200, 429, 429], [200])


def test_all_connections_in_use_leave_those_of_probes():
    async def main() -> tuple[list[int], bytes]:
        limits = attrs.evolve(SMALL, connections=2, waits=2)
        async with under_attack(limits) as scene:
            for _ in range(2):
                await scene.attack("wait")
            await until(lambda: scene.held()["requests of one"][0] == 2)
            probes = [await scene.get(path) for path in ("/live", "/ready") for _ in range(3)]
            refused = await scene.exchange(request("GET", "/v1/jobs", token="healthy"))  # noqa: S106
            return probes, refused

    probes, refused = asyncio.run(main())
    assert probes == [200] * 6
    assert status_of(refused) == 503
    assert b'"code":"overloaded"' in refused  # a client knows that nothing was applied
    assert b"connection: close\r\n" in refused.lower()
    assert b"retry-after: 1\r\n" in refused


def test_idle_connections_of_probes_are_replaced():
    async def main() -> tuple[int, list[bytes]]:
        limits = attrs.evolve(SMALL, connections=1, probe_connections=2)
        async with under_attack(limits) as scene:
            busy = await scene.attack("wait")
            await until(lambda: scene.held()["requests of one"][0] == 1)
            idle = [await scene.served.connect() for _ in range(3)]
            found = await scene.get("/live"), [await reader.read(12) for reader, _ in idle[:2]]
            for writer in (busy, *(writer for _, writer in idle)):
                writer.close()
            return found

    assert asyncio.run(main()) == (200, [b"HTTP/1.1 503"] * 2)


# ------------------------------------------------------------ each limit of a client, at its edge and one beyond
@pytest.mark.parametrize(("beside", "statuses"), [(3, [200]), (4, [503])])
def test_the_requests_of_one_client_are_limited(beside: int, statuses: list[int]):
    async def main() -> tuple[list[int], int]:
        async with under_attack(attrs.evolve(SMALL, client_waits=9, waits=9)) as scene:
            for _ in range(beside):
                await scene.attack("wait")
            await until(lambda: scene.held()["requests of one"][0] == beside)
            return [await scene.get("/v1/jobs", "hostile")], await scene.get("/v1/jobs", "healthy")

    assert asyncio.run(main()) == (statuses, 200)


@pytest.mark.parametrize(("size", "status"), [(1_000, 200), (1_001, 503)])
def test_the_bodies_of_one_client_are_limited(size: int, status: int):
    async def main() -> tuple[int, int]:
        async with under_attack() as scene:
            writer = await scene.attack("body with a token")
            await until(lambda: scene.held()["bodies"][0] == 1_000)
            sent = request("POST", "/v1/calls", batch({"action": "status"}).ljust(size), token="hostile")  # noqa: S106
            other = request("POST", "/v1/calls", batch({"action": "status"}).ljust(2_000), token="healthy")  # noqa: S106
            found = status_of(await scene.exchange(sent)), status_of(await scene.exchange(other))
            writer.close()
            return found

    assert asyncio.run(main()) == (status, 200)


@pytest.mark.parametrize(("beside", "status"), [(1, 403), (2, 503)])
def test_forms_to_sign_in_are_limited(beside: int, status: int):
    async def main() -> int:
        async with under_attack() as scene:
            for _ in range(beside):
                await scene.attack("sign-in without an end")
            await until(lambda: [each.phase for each in scene.served.connections.all] == ["body"] * beside)
            return status_of(await scene.exchange(request("POST", "/dashboard/login", b"token=x")))

    assert asyncio.run(main()) == status


@pytest.mark.parametrize(("size", "status"), [(16_384, 403), (16_385, 413)])
def test_a_form_to_sign_in_is_small(size: int, status: int):
    async def main() -> int:
        async with under_attack(attrs.evolve(SMALL, body_bytes=1_000_000)) as scene:
            return status_of(await scene.exchange(request("POST", "/dashboard/login", b"token=".ljust(size, b"x"))))

    assert asyncio.run(main()) == status


@pytest.mark.parametrize(("beside", "statuses"), [(1, (200, 200)), (2, (503, 200)), (3, (503, 503))])
def test_the_waits_of_one_client_and_of_all_are_limited(beside: int, statuses: tuple[int, int]):
    async def main() -> tuple[int, int]:
        async with under_attack() as scene:
            tokens = ["hostile", "hostile", "healthy"][:beside]
            path = f"{JOB}/a/wait?until=parked"
            for token in tokens:
                _, writer = await scene.served.connect()
                writer.write(request("GET", path, token=token))
                scene.writers.append(writer)
            await until(lambda: scene.api._guard.requests.held == beside)
            return (
                await scene.get(f"{path}&timeout=0+ms", "hostile"),
                await scene.get(f"{path}&timeout=0+ms", "healthy"),
            )

    assert asyncio.run(main()) == statuses


def test_a_wait_ends_when_its_client_leaves():
    async def then(scene: Scene) -> int:
        for each in scene.served.connections.all:
            each.abort()
        await soon(lambda: scene.held()["requests of one"][0] == 0)
        return scene.held()["requests of one"][0]

    assert attacked("wait", 2, then) == 0


@pytest.mark.parametrize(("count", "refused"), [(3, 0), (4, 1)])
def test_the_lists_of_one_client_that_wait_are_limited(count: int, refused: int):
    async def main() -> tuple[list[int], int]:
        async with under_attack() as scene:
            sent = request("GET", "/v1/instances", token="hostile")  # noqa: S106
            await scene.api.batches.lists.enter("a third client")
            lists = [asyncio.ensure_future(scene.exchange(sent)) for _ in range(count)]
            await until(lambda: scene.held()["requests of one"][0] == min(count, 2) or lists[0].done())
            await until(lambda: sum(each.done() for each in lists) >= count - 2)
            healthy = asyncio.ensure_future(scene.get("/v1/instances", "healthy"))
            await until(lambda: scene.api.batches.lists.queued == 3)
            scene.api.batches.lists.release("a third client")
            return [status_of(await each) for each in lists], await healthy

    statuses, healthy = asyncio.run(main())
    assert sorted(statuses) == [200] * 2 + [503] * (count - 2)
    assert healthy == 200
    assert refused == count - 3


def test_a_list_whose_client_has_left_is_not_computed():
    async def main() -> tuple[int, int]:
        async with under_attack() as scene:
            await scene.api.batches.lists.enter("a third client")
            writers = [await scene.attack("lists") for _ in range(2)]
            await until(lambda: scene.api.batches.lists.queued == 2)
            for writer in writers:
                writer.transport.abort()
            await soon(lambda: scene.api.batches.lists.queued == 0)
            await soon(lambda: scene.api._guard.requests.held == 0)
            return scene.api.batches.lists.held, len(scene.served.connections)

    assert asyncio.run(main()) == (1, 0)


def test_each_request_of_a_batch_counts_against_the_rate():
    async def main() -> list[int]:
        limits = attrs.evolve(SMALL, requests_per_second=1, burst=12)
        lines = batch(*[{"action": "status"}] * 10)
        async with under_attack(limits) as scene:
            sent = request("POST", "/v1/calls", lines, token="hostile")  # noqa: S106
            other = request("POST", "/v1/calls", lines, token="healthy")  # noqa: S106
            return [status_of(await scene.exchange(each)) for each in (sent, sent, sent, other)]

    assert asyncio.run(main()) == [200, 200, 429, 200]


@pytest.mark.parametrize(("levels", "status"), [(64, 200), (254, 200), (255, 422), (1_024, 422), (1_025, 422)])
def test_a_nested_payload_is_refused(levels: int, status: int):
    """Those of up to 254 levels reach the codec of the job, whose refusal is that of the line."""

    async def main() -> tuple[list[int], bytes]:
        async with under_attack(attrs.evolve(SMALL, body_bytes=10_000, client_bodies_bytes=10_000)) as scene:
            line = b'{"n":0,"kind":"task","job":"orders","id":"a","action":"send","payload":%s}'
            body = line % (b"[" * levels + b"]" * levels)
            response = await scene.exchange(request("POST", "/v1/calls", body, token="healthy"))  # noqa: S106
            sent = request("POST", f"{JOB}/a/send", b"[" * levels + b"]" * levels, token="healthy")  # noqa: S106
            return [status_of(response), status_of(await scene.exchange(sent))], response

    found, response = asyncio.run(main())
    assert found == [status, 422]
    assert b'"code":"invalid_input"' in response


def test_unread_batches_hold_no_more_than_their_share():
    async def then(scene: Scene) -> tuple[dict[str, Any], bool, bytes]:
        held = scene.beyond()
        read = await scene.exchange(request("POST", "/v1/calls", READS, token="healthy"))  # noqa: S106
        return held, scene.held()["answers of one"][0] > 0, read

    beyond, holds, read = attacked("batch that is not read", 8, then)
    assert beyond == {}
    assert holds
    answers = [orjson.loads(line) for line in read.partition(b"\r\n\r\n")[2].splitlines() if line.startswith(b"{")]
    assert sorted(answer["n"] for answer in answers) == list(range(10))


def test_the_reads_of_a_batch_end_when_its_client_leaves():
    async def main() -> dict[str, Any]:
        async with under_attack(
            attrs.evolve(
                SMALL,
                batch_lines=100,
                body_bytes=20_000,
                client_bodies_bytes=20_000,
                bodies_bytes=20_000,
                lines_at_once=100,
                client_lines=100,
            )
        ) as scene:
            lines = batch(*[{"action": "get_state"}] * 100)
            _, writer = await scene.served.connect()
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(request("POST", "/v1/calls", lines, token="hostile"))  # noqa: S106
            await until(lambda: scene.held()["answers of one"][0] > 0)
            writer.transport.abort()
            await soon(lambda: scene.held()["requests of one"][0] == 0)
            return {name: count for name, (count, _) in scene.held().items() if count}

    assert asyncio.run(main()) == {}


@pytest.mark.parametrize(
    ("weights", "held", "queued"),
    [((9, 3), 12, 0), ((9, 4), 9, 1), ((12, 1), 12, 1), ((13,), 12, 0), ((12, 1, -8), 20, 1), ((12, 1, -9), 12, 2)],
)
def test_the_requests_of_batches_in_progress_are_limited(weights: tuple[int, ...], held: int, queued: int):
    """Negative numbers are requests of another client: 12 of one client and 20 of all may be in progress."""

    async def main() -> tuple[int, int]:
        async with under_attack(attrs.evolve(SMALL, client_requests=9)) as scene:
            lines = scene.api.batches.lines
            release = asyncio.Event()
            tasks = [
                asyncio.ensure_future(lines.perform("one" if weight > 0 else "other", release.wait, weight=abs(weight)))
                for weight in weights
            ]
            for _ in range(10):
                await asyncio.sleep(0)
            found = lines.held, lines.queued
            release.set()
            await asyncio.gather(*tasks)
            return found

    assert asyncio.run(main()) == (held, queued)


@pytest.mark.parametrize(("others", "status"), [(3, 200), (4, 503)])
def test_the_lists_of_all_clients_that_wait_are_limited(others: int, status: int):
    async def main() -> int:
        async with under_attack() as scene:
            lists = scene.api.batches.lists
            await lists.enter("first")
            waiting = [asyncio.ensure_future(lists.enter(f"client {number}")) for number in range(others)]
            await until(lambda: lists.queued == others)
            found = asyncio.ensure_future(scene.get("/v1/instances", "healthy"))
            await until(lambda: found.done() or lists.queued == others + 1)
            lists.release("first")
            for number, entered in enumerate(waiting):
                await entered
                lists.release(f"client {number}")
            return await found

    assert asyncio.run(main()) == status


@pytest.mark.parametrize(("beside", "waits"), [(1, False), (2, True)])
@pytest.mark.parametrize("limit", ["lists_at_once", "reads_at_once"])
def test_one_list_or_read_more_than_the_limit_waits_for_the_end_of_another(limit: str, beside: int, waits: bool):  # noqa: FBT001 - drawn
    async def main() -> tuple[bool, int]:
        async with under_attack(attrs.evolve(SMALL, lists_at_once=2, reads_at_once=2)) as scene:
            batches = scene.api.batches
            slots = batches.lists if limit == "lists_at_once" else batches.reads
            for _ in range(beside):
                await slots.enter("another")
            sent = {
                "lists_at_once": request("GET", "/v1/instances", token="healthy"),  # noqa: S106
                "reads_at_once": request("POST", "/v1/calls", batch(*[{"action": "get_state"}] * 2), token="healthy"),  # noqa: S106
            }
            found = asyncio.ensure_future(scene.exchange(sent[limit]))
            await until(lambda: found.done() or slots.queued > 0)
            waited = not found.done()
            for _ in range(beside):
                slots.release("another")
            return waited, status_of(await found)

    assert asyncio.run(main()) == (waits, 200)


@pytest.mark.parametrize(("held", "begins"), [(199_999, True), (200_000, False)])
@pytest.mark.parametrize("share", ["its own", "that of all"])
def test_no_read_begins_while_too_many_answers_are_unread(held: int, begins: bool, share: str):  # noqa: FBT001 - drawn
    async def main() -> bool:
        async with under_attack() as scene:
            batches = scene.api.batches
            batches.unread.count("one", held if share == "its own" else 1)
            if share == "that of all":
                batches.unread.count("other", held + 200_000 - 1)
            begun = batches.reads.take("one")
            if not begun:
                waiting = asyncio.ensure_future(batches.reads.enter("one"))
                await asyncio.sleep(0)
                assert not waiting.done()
                batches.read("one", 1)
                if share == "that of all":
                    batches.read("other", 1)
                await waiting
            return begun

    assert asyncio.run(main()) == begins
