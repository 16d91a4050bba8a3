"""Any servers that fail in any way: the repeats of a client, its errors and its time limits."""

import asyncio
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import attrs
from hypothesis import event, example, given
from hypothesis import strategies as st
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.remote.channel import AnswerLost, ClientClosed, HttpReply, NotSent
from perdure.remote.servers import MAX_DELAY_MS, CallRepeat, Server, ServerCall, Servers
from perdure.values.errors import (
    EngineClosed,
    InvalidInput,
    OutcomeUnknown,
    Overloaded,
    PerdureError,
    Rejected,
    RequestError,
    ServerUnreachable,
    StoreUnavailable,
    UnknownJob,
)
from perdure.wire.requests import BatchReply, Envelope

TIMEOUT_MS = 1_000
ABOUT = "task:orders:a"

Deed: TypeAlias = Literal[
    "answers", "unreachable", "silent", "loses", "applies and loses", "stops", "is full", "knows no job",
    "reads no field", "has no store", "in doubt", "rejects", "instance is full", "is no engine",
]  # fmt: skip

FAILURES: dict[str, PerdureError] = {
    "stops": EngineClosed(),
    "is full": Overloaded("the engine's queue", 1),
    "instance is full": Overloaded(f"mailbox of {ABOUT}", 1),
    "knows no job": UnknownJob("task", "orders", ()),
    "reads no field": InvalidInput("event of 'orders'", ("$.tip: unknown key",)),
    "has no store": StoreUnavailable("commit", "no connection"),
    "in doubt": OutcomeUnknown("the disk failed"),
    "rejects": Rejected("too late"),
    "is no engine": ServerUnreachable("s", "the server there refuses the request with status 404"),
}
APPLYING = {"answers", "applies and loses", "in doubt"}
NOWHERE = {"unreachable", "stops"}
OTHERS_HELP = {"is full", "knows no job", "reads no field", "is no engine"}


@attrs.define
class Clock:
    """The runtime of a client, without time."""

    now: float = 0
    keys: int = 0

    async def concurrently(self, calls: Sequence[FutureResult[Any, Any]], /) -> Any:
        raise NotImplementedError

    async def pause(self, delay_ms: float, /) -> None:
        self.now += delay_ms

    def now_ms(self) -> float:
        return self.now

    def new_key(self) -> str:
        self.keys += 1
        return str(self.keys)


@attrs.define(eq=False)
class Scripted:
    """A server that does one deed after the other, and then the last one for ever."""

    clock: Clock
    deeds: list[tuple[Deed, float]]
    applied: list[str]
    tried: int = 0

    async def call(self, envelope: Envelope, timeout_ms: float, /) -> BatchReply:
        deed, takes_ms = self.deeds[min(self.tried, len(self.deeds) - 1)]
        self.tried += 1
        self.clock.now += timeout_ms if deed == "silent" else min(takes_ms, timeout_ms)
        if deed == "unreachable":
            raise NotSent("refused")
        if deed == "silent" or takes_ms > timeout_ms:
            self.applied += ["late"] if deed in APPLYING else []
            raise AnswerLost("no answer came")
        self.applied += [deed] if deed in APPLYING else []
        if deed in ("loses", "applies and loses"):
            raise AnswerLost("closed")
        return BatchReply(envelope.number, "answer" if deed == "answers" else "problem", deed)

    async def http(self, *_: Any) -> HttpReply:
        raise ClientClosed


async def attempt(server: Server, limit_ms: float) -> Result[Any, PerdureError]:
    reply = await server.channel.call(Envelope(number=1, kind="task", job="orders", id="a", action="send"), limit_ms)
    return Success("answer") if reply.form == "answer" else Failure(FAILURES[reply.body])


scripts = st.lists(
    st.tuples(
        st.sampled_from(sorted({*FAILURES, "answers", "unreachable", "silent", "loses", "applies and loses"})),
        st.sampled_from((0, 1, 40, 700)),
    ),
    min_size=1,
    max_size=4,
)
repeats: st.SearchStrategy[CallRepeat] = st.sampled_from(("reads", "keyed", "changes_nothing", "applies_again"))


def performed(drawn: list[Any], repeat: CallRepeat, waits_ms: float) -> tuple[Result[Any, Any], list[Scripted], float]:
    clock, applied = Clock(), list[str]()
    channels = [Scripted(clock, script, applied) for script in drawn]
    servers = Servers(
        tuple(Server(f"http://{n}", channel, str) for n, channel in enumerate(channels)), clock, TIMEOUT_MS
    )
    call = ServerCall(about=ABOUT, repeat=repeat, waits_ms=waits_ms)
    return asyncio.run(servers.perform(attempt, call)), channels, clock.now


@given(st.lists(scripts, min_size=1, max_size=3), repeats, st.sampled_from((0, 500)))
@example([[("applies and loses", 0)], [("answers", 0)]], "applies_again", 0)
@example([[("stops", 0)], [("reads no field", 0)]], "applies_again", 0)
def test_a_call_of_several_servers_keeps_its_word(drawn: list[Any], repeat: CallRepeat, waits_ms: float):
    result, channels, took_ms = performed(drawn, repeat, waits_ms)
    applied = channels[0].applied
    event(f"{repeat}: {'answer' if isinstance(result, Success) else type(result.failure()).__name__}")

    assert took_ms <= TIMEOUT_MS + waits_ms + MAX_DELAY_MS
    assert sum(channel.tried for channel in channels) <= 3 * (8 + TIMEOUT_MS / MAX_DELAY_MS + 2)
    if repeat == "applies_again":
        assert len(applied) <= 1
    if repeat == "reads":
        assert isinstance(result, Success) or not isinstance(result.failure(), OutcomeUnknown)
    if isinstance(result, Failure):
        error = result.failure()
        if isinstance(error, OutcomeUnknown):
            deeds = [deed for channel in channels for deed, takes in channel.deeds[: channel.tried]]
            assert {"silent", "loses", "applies and loses", "in doubt"} & {*deeds} or took_ms >= TIMEOUT_MS / 4
        if isinstance(error, RequestError) and repeat != "reads":
            assert applied == []  # such an error says that nothing was applied


@given(st.lists(scripts, max_size=2), st.integers(0, 2), repeats)
def test_a_server_that_answers_is_found_behind_any_that_may_be_passed(
    before: list[Any], place: int, repeat: CallRepeat
):
    """Each other server fails at once, in a way that applied nothing or that the call may repeat."""
    passable = NOWHERE | OTHERS_HELP
    passable |= {"has no store", "loses", "in doubt"} if repeat != "applies_again" else set()
    others = [[(deed, 0) for deed, _ in script if deed in passable] or [("unreachable", 0)] for script in before]
    others.insert(min(place, len(others)), [("answers", 0)])
    result, channels, took_ms = performed(others, repeat, 0)
    assert (result, took_ms) == (Success("answer"), 0)
    assert all(channel.tried <= 1 for channel in channels)


@given(st.sets(st.integers(0, 10_000), min_size=60, max_size=60), st.integers(2, 5))
def test_instances_are_spread_and_each_keeps_its_server(ids: set[int], count: int):
    clock = Clock()

    def chosen(id_: int) -> int:
        """The index of the server that a call about an instance goes to."""
        channels = [Scripted(clock, [("answers", 0)], []) for _ in range(count)]
        each = tuple(Server(f"http://10.0.0.{n}:8080", channel, str) for n, channel in enumerate(channels))
        call = ServerCall(about=f"task:orders:{id_}", repeat="applies_again")
        asyncio.run(Servers(each, clock, TIMEOUT_MS).perform(attempt, call))
        return next(n for n, channel in enumerate(channels) if channel.tried)

    found = [chosen(id_) for id_ in sorted(ids)]
    assert found == [chosen(id_) for id_ in sorted(ids)]
    assert max(found.count(n) for n in range(count)) <= 60 / count + 25
