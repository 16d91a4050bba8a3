"""The limits that clients share: slots, turns, and the memory of the answers of a batch."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.server.admission import UNBOUNDED, Bulkhead, ClientGone
from perdure.server.calls import PART_BYTES, UNREAD_BYTES, Answers, BatchLimits
from perdure.server.http_limits import HttpLimits
from perdure.values.errors import Overloaded


def bulkhead(limit: int, of_one: int | None = None, **options: Any) -> Bulkhead:
    """Return a bulkhead whose work waits."""
    waiting = {"waiting": UNBOUNDED, "waiting_of_one": UNBOUNDED, **options}
    return Bulkhead(name="slots", limit=limit, of_one=of_one or limit, runtime=asyncio_runtime(), **waiting)


async def steps(count: int = 5) -> None:
    """Let the event loop run."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_no_more_than_its_slots_are_in_use_and_a_failure_frees_one():
    running: list[int] = []
    order: list[int] = []

    async def main() -> None:
        slots = bulkhead(2, rests=True)

        async def work(number: int) -> None:
            running.append(number)
            assert len(running) <= 2
            await asyncio.sleep(0)
            running.remove(number)
            order.append(number)
            if number % 3 == 0:
                raise ValueError(number)

        pieces = [slots.perform("one", lambda n=number: work(n)) for number in range(9)]
        results = await asyncio.gather(*pieces, return_exceptions=True)
        assert [result for result in results if result is not None] == [results[0], results[3], results[6]]

    asyncio.run(main())
    assert order == list(range(9))


def performed(slots: Bulkhead, clients: str) -> tuple[list[str], list[str]]:
    """Request one piece of work for each client at once; return those of work done in order, and those refused."""
    done, refused = list[str](), list[str]()

    async def one(client: str) -> None:
        async def work() -> None:
            await asyncio.sleep(0)
            done.append(client)

        try:
            await slots.perform(client, work)
        except Overloaded:
            refused.append(client)

    async def main() -> None:
        await asyncio.gather(*map(one, clients))

    asyncio.run(main())
    return done, refused


def test_clients_take_turns():
    assert performed(bulkhead(1), "aaaaabbc") == (list("aabcabaa"), [])  # the first one found all free


def test_one_client_does_not_take_the_slots_of_all():
    done, refused = performed(bulkhead(3, 2), "aaaab")
    assert done[:3] == ["a", "a", "b"]
    assert (len(done), refused) == (5, [])


@pytest.mark.parametrize(
    ("options", "refused"),
    [({"waiting": 3}, "aabb"), ({"waiting_of_one": 2}, "aaa"), ({"waiting": 0}, "aaaabbb")],
)
def test_work_beyond_those_that_may_wait_is_refused(options: dict[str, int], refused: str):
    done, found = performed(bulkhead(1, **options), "aaaaabb" if options != {"waiting": 0} else "aaaaabbb")
    if options == {"waiting": 0}:
        assert (len(done), len(found)) == (1, 7)
    elif options == {"waiting": 3}:
        assert (len(done), found) == (4, list("a") + list("bb"))
    else:
        assert found == list("aa")


def test_heavy_work_is_not_overtaken_for_ever():
    async def main() -> list[str]:
        slots, order = bulkhead(4), list[str]()

        async def one(client: str, weight: int) -> None:
            async def work() -> None:
                order.append(client)
                await steps(3)

            await slots.perform(client, work, weight=weight)

        await asyncio.gather(*(one(client, weight) for client, weight in [("a", 3), ("b", 4), ("c", 1), ("d", 1)]))
        return order

    assert asyncio.run(main()) == ["a", "b", "c", "d"]


def test_work_heavier_than_the_limit_takes_all_of_it():
    async def main() -> int:
        slots, held = bulkhead(4), list[int]()

        async def work() -> None:
            held.append(slots.held)

        await slots.perform("one", work, weight=1_000)
        return held[0]

    assert asyncio.run(main()) == 4


@pytest.mark.parametrize("end", ["leaves", "is cancelled"])
def test_work_that_waits_is_dropped_when_its_client_leaves(end: str):
    async def main() -> tuple[list[str], int, int, list[type]]:
        slots, done, gone = bulkhead(1), list[str](), asyncio.Event()
        release = asyncio.Event()

        def work(name: str) -> Callable[[], Awaitable[None]]:
            async def one() -> None:
                done.append(name)
                await release.wait()

            return one

        first = asyncio.ensure_future(slots.perform("a", work("first")))
        await steps()
        second = asyncio.ensure_future(slots.perform("b", work("second"), left=gone.wait))  # type: ignore[arg-type]
        third = asyncio.ensure_future(slots.perform("b", work("third")))
        await steps()
        if end == "leaves":
            gone.set()
        else:
            second.cancel()
        await steps()
        waiting = slots.queued
        release.set()
        results = await asyncio.gather(first, second, third, return_exceptions=True)
        return done, waiting, slots.held, [type(result) for result in results if result is not None]

    done, waiting, held, errors = asyncio.run(main())
    assert (done, waiting, held) == (["first", "third"], 1, 0)
    assert errors == [ClientGone if end == "leaves" else asyncio.CancelledError]


def test_work_that_is_cancelled_in_the_step_of_its_admission_frees_its_slot():
    async def main() -> int:
        slots = bulkhead(1)
        await slots.enter("a")
        waiting = asyncio.ensure_future(slots.enter("b"))
        await steps()
        slots.release("a")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return slots.held

    assert asyncio.run(main()) == 0


# ------------------------------------------------------------ the answers of a batch
def answers_of(send: Any, left: int, limits: HttpLimits = HttpLimits()) -> Answers:  # noqa: B008 - a constant
    runtime = asyncio_runtime()
    return Answers(send, left, "one", BatchLimits.of(limits, bulkhead(1), runtime))


def test_a_read_of_a_batch_waits_while_the_client_does_not_read():
    async def main() -> list[bool]:
        may_send = asyncio.Event()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                await may_send.wait()

        answers = answers_of(send, 2)
        writing = asyncio.ensure_future(answers.write())
        answers.add(b"x" * (UNREAD_BYTES - 1))
        await answers.room()
        answers.add(b"x")
        waiting = asyncio.ensure_future(answers.room())
        await steps()
        before = waiting.done()
        may_send.set()
        await writing
        await waiting
        return [before, waiting.done()]

    assert asyncio.run(main()) == [False, True]


def test_answers_are_sent_in_parts_and_each_is_counted_until_it_is_sent():
    async def main() -> tuple[list[int], list[int], bytes]:
        sizes, held, sent = list[int](), list[int](), list[bytes]()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                sizes.append(len(message["body"]))
                held.append(answers.limits.unread.held)
                sent.append(message["body"])

        lines = [b"%d" % (number % 10) * 1_000 for number in range(100)] + [b"y" * (PART_BYTES + 1), b"z"]
        answers = answers_of(send, len(lines))
        for line in lines:
            answers.add(line)
        await answers.write()
        assert answers.limits.unread.held == 0
        return sizes, held, b"".join(sent) if b"".join(lines) == b"".join(sent) else b""

    sizes, held, sent = asyncio.run(main())
    assert max(sizes) <= PART_BYTES + 1
    assert held == [sum(sizes[number:]) for number in range(len(sizes))]
    assert sent


def test_an_answer_after_its_client_has_left_counts_nothing():
    async def main() -> list[int]:
        async def send(_message: Any) -> None:
            raise AssertionError("no client reads this")

        answers = answers_of(send, 3)
        counts = list[int]()
        for step in (lambda: answers.add(b"xx"), answers.forget, lambda: answers.add(b"xxx")):
            step()
            counts.append(answers.limits.unread.held)
        return counts

    assert asyncio.run(main()) == [2, 0, 0]


def test_the_head_of_a_batch_is_sent_with_its_first_answers():
    async def main() -> tuple[list[str], list[str]]:
        sent = list[str]()

        async def send(message: Any) -> None:
            sent.append(message["type"])

        answers = answers_of(send, 1)
        writing = asyncio.ensure_future(answers.write())
        await steps()
        before = list(sent)
        answers.add(b"x")
        await writing
        return before, sent

    assert asyncio.run(main()) == ([], ["http.response.start", "http.response.body"])


def test_work_behind_heavier_work_whose_client_left_begins():
    async def main() -> None:
        slots = bulkhead(3)
        await slots.enter("one", 2)
        heavy = asyncio.ensure_future(slots.enter("two", 2))
        light = asyncio.ensure_future(slots.enter("three", 1))
        await steps()
        assert not light.done()
        heavy.cancel()
        await steps()
        assert light.done()
        assert (slots.held, slots.queued) == (3, 0)

    asyncio.run(main())
