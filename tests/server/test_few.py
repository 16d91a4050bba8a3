"""Expensive work: how much is done at once, and how much memory the answers of a batch hold."""

import asyncio
from typing import Any

from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.server.batch import UNREAD_BYTES, Answers
from perdure.server.few import Few


def test_no_more_than_its_slots_are_in_use_and_a_failure_frees_one():
    running: list[int] = []
    order: list[int] = []

    async def main() -> None:
        few = Few(2)

        async def work(number: int) -> None:
            running.append(number)
            assert len(running) <= 2
            await asyncio.sleep(0)
            running.remove(number)
            order.append(number)
            if number % 3 == 0:
                raise ValueError(number)

        pieces = [few.perform(lambda n=number: work(n), asyncio_runtime()) for number in range(9)]
        results = await asyncio.gather(*pieces, return_exceptions=True)
        assert [result for result in results if result is not None] == [results[0], results[3], results[6]]

    asyncio.run(main())
    assert order == list(range(9))


def test_a_read_of_a_batch_waits_while_the_client_does_not_read():
    async def main() -> list[bool]:
        may_send = asyncio.Event()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                await may_send.wait()

        answers = Answers(send, 2)
        writing = asyncio.ensure_future(answers.write())
        answers.add(b"x" * (UNREAD_BYTES - 1))
        await answers.room()
        answers.add(b"x")
        waiting = asyncio.ensure_future(answers.room())
        for _ in range(5):
            await asyncio.sleep(0)
        before = waiting.done()
        may_send.set()
        await writing
        await waiting
        return [before, waiting.done()]

    assert asyncio.run(main()) == [False, True]
