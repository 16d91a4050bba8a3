"""The laws hold for correct code, and each of them finds a plausible mistake."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given
from returns.context import RequiresContextFutureResult
from returns.maybe import Maybe
from returns.result import Failure, Result, Success

from perdure.codecs import Codec
from perdure.examples.order_processor import Order, OrderEvent
from perdure.examples.token_refresher import TokenState
from perdure.programs import PASS, Do, Program, fail, gather, lift, program, race, run_sync, sandbox, sleep, succeed
from perdure.testing import from_type
from perdure.testing.laws import LawViolated, Outside, check_codec, check_combinator, check_container, programs
from perdure.values.retry import Backoff, Retry

# ---------------------------------------------------------------- combinators
TWICE = Retry(max_attempts=2, delay=Backoff.constant("1 second"), jitter=False)


@program
def in_a_block(inside: Program[Any, Any, Any]) -> Do[Any, Any, Any]:
    try:
        return (yield from inside)
    finally:
        yield from succeed("finally")


@program
def twice(inside: Program[Any, Any, Any]) -> Do[Any, Any, Any]:
    yield from inside
    return (yield from inside)


RIGHT = {
    "attempt": lambda inside: inside.attempt(),
    "bind": lambda inside: inside.bind(succeed),
    "block": in_a_block,
    "gather": lambda inside: gather(inside, succeed(1)),
    "lash": lambda inside: inside.lash(fail),
    "modify_env": lambda inside: inside.modify_env(lambda services: services),
    "on_exit": lambda inside: inside.on_exit(succeed(None)),
    "or_raise": lambda inside: inside.or_raise(),
    "race": lambda inside: race(inside, sleep("1 hour")),
    "retry": lambda inside: inside.retry(TWICE),
    "sandbox": sandbox,
    "tap": lambda inside: inside.tap(succeed),
    "timeout": lambda inside: inside.timeout("1 minute"),
    "twice": twice,
}


@pytest.mark.parametrize("name", RIGHT)
def test_the_combinators_of_the_library_keep_the_laws(name):
    check_combinator(RIGHT[name], depth=300, max_examples=15)


def test_one_that_reaches_outside_when_it_is_applied_is_found():
    def eager(inside: Program[Any, Any, Any]) -> Program[Any, Any, Any]:
        return lift(run_sync(inside, Outside()))

    with pytest.raises(LawViolated, match="can be run again"):
        check_combinator(eager)


def test_one_that_remembers_its_first_run_is_found():
    with pytest.raises(LawViolated, match="can be run again"):
        check_combinator(remembering)


def remembering(inside: Program[Any, Any, Any]) -> Program[Any, Any, Any]:
    """Run the inner program once, and return its first value from then on."""
    cache: list[Any] = []

    @program
    def cached() -> Do[Any, Any, Any]:
        if not cache:
            cache.append((yield from inside))
        return cache[0]

    return cached()


@program
def swallowing(inside: Program[Any, Any, Any]) -> Do[Any, Any, Any]:
    try:
        return (yield from inside)
    except BaseException:  # noqa: BLE001 - the mistake
        yield from sleep("1 second")
        return None


def test_one_that_swallows_cancellation_is_found():
    with pytest.raises(LawViolated, match="a cancellation is not swallowed"):
        check_combinator(swallowing)


def test_one_that_drops_finalizers_is_found():
    def reaches(instruction: object) -> object:
        return Success(None) if getattr(instruction, "args", ()) == ("release",) else PASS

    with pytest.raises(LawViolated, match="released once, after any exit"):
        check_combinator(lambda inside: sandbox(inside, reaches))


@pytest.mark.filterwarnings("ignore:coroutine 'run_as_result' was never awaited:RuntimeWarning")
def test_one_that_overflows_the_stack_is_found():
    def recursive(inside: Program[Any, Any, Any]) -> Program[Any, Any, Any]:
        return Program.from_future_result_context(RequiresContextFutureResult(inside))

    with pytest.raises(LawViolated, match="does not overflow the stack"):
        check_combinator(recursive)
    gc.collect()  # the coroutine that was about to be awaited when the stack was full goes here, and in no other test


# ---------------------------------------------------------------- containers
def test_the_containers_of_returns_keep_the_laws():
    results = st.integers().map(Success) | st.integers().map(Failure)
    check_container(Result, results, run=lambda result: result)
    check_container(Maybe, st.integers().map(Maybe.from_value), run=lambda maybe: maybe)


def test_readers_that_overflow_the_stack_are_found():
    drawn = st.integers().map(RequiresContextFutureResult.from_value)

    def run(reader: Any) -> object:
        async def awaited() -> object:
            return await reader(None)

        return asyncio.run(awaited())

    with pytest.raises(LawViolated, match="nested to any depth"):
        check_container(RequiresContextFutureResult, drawn, run=run, max_examples=3)


@attrs.frozen
class Box:
    """A container whose `map` does nothing, which the laws of `returns` alone would accept."""

    value: int

    @classmethod
    def from_value(cls, value: int) -> Box:
        return cls(value)

    def map(self, function: Any) -> Box:
        return self

    def bind(self, function: Any) -> Box:
        return function(self.value)


def test_a_map_that_does_nothing_is_found():
    with pytest.raises(LawViolated, match="map is bind, then from_value"):
        check_container(Box, st.integers().map(Box), run=lambda box: box)


# ---------------------------------------------------------------- codecs
@pytest.mark.parametrize("form", [Order, OrderEvent, TokenState, int | None], ids=str)
def test_the_codecs_keep_the_laws(form):
    check_codec(Codec.of(form, what="it"), from_type(form), max_examples=40)


class Forgetful:
    """Loses the sign."""

    def encode(self, value: int) -> bytes:
        return str(abs(value)).encode()

    def decode(self, data: bytes) -> int:
        return int(data)


class Blunt(Forgetful):
    """Keeps the value, and refuses with whatever comes."""

    def encode(self, value: int) -> bytes:
        return str(value).encode()


def test_a_codec_that_loses_something_is_found():
    with pytest.raises(LawViolated, match=r"decodes unchanged\n.*was encoded as b'1' and decoded as 1"):
        check_codec(Forgetful(), st.integers())


def test_a_codec_that_refuses_otherwise_is_found():
    with pytest.raises(LawViolated, match="refused with ValueError"):
        check_codec(Blunt(), st.integers())


@given(programs(values=st.text(), errors=st.none()))
def test_drawn_programs_end_by_themselves(drawn):
    assert isinstance(run_sync(drawn, None), Success | Failure)
