"""The agent as a program, with a model that answers anything and tools that fail, over crashes."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from itertools import pairwise

import attrs
from agent_program import (
    MOST_CALLS,
    Agency,
    History,
    ModelDown,
    Reply,
    Say,
    Task,
    ToolCall,
    ToolFailed,
    TooManyRequests,
    UseTools,
    agent,
)
from hypothesis import example, given
from hypothesis import strategies as st
from returns.result import Failure, Result, Success

from perdure import App
from perdure.testing import WorkerDied, World
from perdure.values.answer import Done
from perdure.values.outcome import Failed

texts = st.text(max_size=3)
calls = st.builds(ToolCall, texts, texts)
replies: st.SearchStrategy[Result[Reply, ModelDown]] = st.one_of(
    st.builds(Success, st.builds(Say, texts)),
    st.builds(Success, st.builds(UseTools, st.lists(calls, max_size=MOST_CALLS + 2).map(tuple))),
    st.builds(Failure, st.builds(ModelDown, texts)),
)


@attrs.define
class Anything(Agency):
    """A model that replies as drawn, and tools that fail if their argument is empty.

    It answers by the history's length, so that a repeat after a crash receives the same.
    """

    replies: list[Result[Reply, ModelDown]]
    requests: list[History] = attrs.Factory(list)
    used: list[tuple[str, ToolCall]] = attrs.Factory(list)

    async def think(self, history: History) -> Result[Reply, ModelDown]:
        self.requests.append(history)
        return self.replies[(len(history) // 2) % len(self.replies)]

    async def use(self, key: str, call: ToolCall) -> Result[str, ToolFailed]:
        self.used.append((key, call))
        return Success(f"{call.tool} of {call.argument}") if call.argument else Failure(ToolFailed("empty"))


MANY = Success(UseTools(tuple(ToolCall("t", str(each)) for each in range(MOST_CALLS + 1))))


@example([MANY, Success(Say("end"))], 3, None)
@example([Success(UseTools((ToolCall("t", ""), ToolCall("t", "x")))), Success(Say("end"))], 3, 4)
@example([Success(UseTools(()))], 2, None)
@given(st.lists(replies, min_size=1, max_size=4), st.integers(0, 5), st.none() | st.integers(0, 12))
def test_each_request_continues_the_conversation_and_each_tool_is_used_once(
    said: list[Result[Reply, ModelDown]], requests: int, crash_after: int | None
) -> None:
    outside = Anything(said)
    with World(App(outside).with_jobs(agent)) as world:
        if crash_after is not None:
            world.crash_after(crash_after)
        with suppress(WorkerDied):
            world.run(world.handle(agent).start("1", Task("why?", requests)))
            world.advance("1 second")
        world.cancel_crash()
        if not world.is_open:
            world.open()
        world.run(world.handle(agent).start("1", Task("why?", requests)))
        world.advance("1 minute")
        outcome = world.run(world.handle(agent).outcome("1"))
    asked = sorted(set(outside.requests), key=len)
    assert len(asked) <= requests
    for earlier, later in pairwise(asked):
        assert later[: len(earlier)] == earlier
        wanted, results = later[len(earlier) :]
        assert isinstance(wanted, UseTools)
        assert isinstance(results, tuple)
        assert len(results) == len(wanted.calls)
    ends = [said[each % len(said)] for each in range(requests) if not used_tools(said[each % len(said)])]
    match ends[:1]:
        case [Success(Say(text))]:
            assert outcome == Done(value=text)
        case [Failure(down)]:
            assert outcome == Failed(error=down)
        case _:
            assert outcome == Failed(error=TooManyRequests(requests))
    repeated = Counter(key for key, _ in outside.used)
    assert max(repeated.values(), default=1) <= (1 if crash_after is None else 2)


def used_tools(reply: Result[Reply, ModelDown]) -> bool:
    return isinstance(reply, Success) and isinstance(reply.unwrap(), UseTools)
