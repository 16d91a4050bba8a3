import asyncio

import pytest
from returns.future import FutureResult
from returns.io import IOFailure, IOSuccess
from returns.result import Failure, Result, Success

from perdure.programs.future import answer_of, asked, settled


async def answering(result: Result[int, str], begun: list[str]) -> Result[int, str]:
    begun.append("begun")
    await asyncio.sleep(0)
    return result


def known(result: Result[int, str]) -> FutureResult[int, str]:
    return settled(result)


def to_come(result: Result[int, str]) -> FutureResult[int, str]:
    return asked(answering(result, []))


@pytest.mark.parametrize("made", [known, to_come])
def test_it_is_a_future_result_like_any_other(made):
    async def main():
        good, bad = made(Success(1)), made(Failure("no"))
        assert await good == IOSuccess(1) == await good  # any number of times
        assert await bad == IOFailure("no")
        assert await good.map(lambda number: number + 1) == IOSuccess(2)
        assert await good.bind(lambda _: bad).lash(FutureResult.from_value) == IOSuccess("no")
        assert await FutureResult.from_value(1).bind(lambda _: good) == IOSuccess(1)
        assert type(await good) is type(IOSuccess(1))
        assert type(await bad) is type(IOFailure(1))
        assert await answer_of(good) == Success(1)
        assert await answer_of(bad) == Failure("no")

    asyncio.run(main())


def test_a_request_begins_when_it_is_awaited_and_once():
    async def main():
        begun: list[str] = []
        question = asked(answering(Success(1), begun))
        assert begun == []
        assert (await question, await question, begun) == (IOSuccess(1), IOSuccess(1), ["begun"])

    asyncio.run(main())


def test_the_answer_of_any_future_result_can_be_had_as_a_result():
    async def main():
        assert await answer_of(FutureResult.from_value(1)) == Success(1)
        assert await answer_of(FutureResult.from_failure("no")) == Failure("no")

    asyncio.run(main())
