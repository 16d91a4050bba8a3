"""The laws: those of `returns`, and those that tie the operations of a program together.

`check_all_laws` alone is content with a `map` that does nothing; the coherence laws below are not.
"""

from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from returns.contrib.hypothesis.laws import check_all_laws
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.program import Do, Program, fail, lift, program, run_sync, succeed

SERVICES = 7


@program
def first_of(one: Program[Any, Any, Any], other: Program[Any, Any, Any]) -> Do[Any, Any, Any]:
    value = yield from one
    yield from other.attempt()
    return value


def programs(container: Any = None) -> st.SearchStrategy[Program[Any, Any, Any]]:
    """Draw programs of every shape; `container` is the ``Program[...]`` whose arguments say of what they are."""
    value, error = (*getattr(container, "__args__", (int, int)), int)[:2]
    leaves = st.one_of(
        st.from_type(value).map(Program.from_value),
        st.from_type(error).map(Program.from_failure),
        st.from_type(value).map(lambda v: Program.from_future_result_context(lambda _: FutureResult.from_value(v))),
    )
    return st.recursive(leaves, _composed, max_leaves=6)


def _composed(inner: st.SearchStrategy[Program[Any, Any, Any]]) -> st.SearchStrategy[Program[Any, Any, Any]]:
    pairs = st.tuples(inner, inner)
    return st.one_of(
        pairs.map(lambda two: two[0].bind(lambda _: two[1])),
        pairs.map(lambda two: two[0].lash(lambda _: two[1])),
        pairs.map(lambda two: first_of(*two)),
        pairs.map(lambda two: two[0].on_exit(two[1].attempt())),
        inner.map(lambda one: one.modify_env(lambda services: services)),
        inner.map(lambda one: one.attempt().bind(Program.from_result)),
        inner.map(lambda one: one.swap().swap()),
    )


check_all_laws(
    Program,
    container_strategy=programs,
    settings_kwargs={"max_examples": 25, "deadline": None, "suppress_health_check": HealthCheck},
)

ANY = programs()
CONTINUATIONS = st.functions(like=lambda value: None, returns=ANY, pure=True)
FUNCTIONS = st.functions(like=lambda value: None, returns=st.integers(), pure=True)


def same(one: Program[Any, Any, Any], other: Program[Any, Any, Any]) -> None:
    assert run_sync(one, SERVICES) == run_sync(other, SERVICES)


@given(ANY, FUNCTIONS)
def test_map_is_bind_then_succeed(drawn, function):
    same(drawn.map(function), drawn.bind(lambda value: succeed(function(value))))


@given(ANY, FUNCTIONS)
def test_alt_is_lash_then_fail(drawn, function):
    same(drawn.alt(function), drawn.lash(lambda error: fail(function(error))))


@given(ANY)
def test_attempt_then_lift_changes_nothing(drawn):
    same(drawn.attempt().bind(lift), drawn)


@given(ANY)
def test_attempt_shows_the_exit(drawn):
    assert run_sync(drawn.attempt(), SERVICES) == Success(run_sync(drawn, SERVICES))


@given(ANY, CONTINUATIONS)
def test_a_do_block_is_bind(drawn, continuation):
    @program
    def block() -> Do[Any, Any, Any]:
        value = yield from drawn
        return (yield from continuation(value))

    same(block(), drawn.bind(continuation))


@given(ANY, CONTINUATIONS)
def test_compose_result_is_bind_or_fail(drawn, continuation):
    def either(result: Result[Any, Any]) -> Program[Any, Any, Any]:
        return continuation(result.unwrap()) if isinstance(result, Success) else fail(result.failure())

    same(drawn.compose_result(either), drawn.bind(continuation))


@given(ANY, CONTINUATIONS)
def test_tap_is_bind_that_keeps_the_value(drawn, continuation):
    same(drawn.tap(continuation), drawn.bind(lambda value: continuation(value).map(lambda _: value)))


@given(ANY)
def test_swap_exchanges_value_and_error(drawn):
    assert run_sync(drawn.swap(), SERVICES) == run_sync(drawn, SERVICES).swap()


@given(ANY, FUNCTIONS)
def test_apply_is_map(drawn, function):
    same(drawn.apply(succeed(function)), drawn.map(function))


@given(ANY, ANY)
def test_a_finalizer_that_succeeds_changes_nothing(drawn, finalizer):
    same(drawn.on_exit(finalizer.attempt()), drawn)


@given(ANY, ANY)
def test_a_finalizer_that_fails_replaces_the_exit(drawn, finalizer):
    expected = run_sync(finalizer, SERVICES)
    if isinstance(expected, Success):
        expected = run_sync(drawn, SERVICES)
    assert run_sync(drawn.on_exit(finalizer), SERVICES) == expected


@given(ANY, st.integers())
def test_provide_is_modify_env_that_ignores(drawn, services):
    same(drawn.provide(services), drawn.modify_env(lambda _: services))


@given(ANY)
def test_a_second_run_is_as_the_first(drawn):
    same(drawn, drawn)


@given(ANY)
def test_the_reader_view_agrees_with_the_driver(drawn):
    async def awaited() -> Any:
        return await drawn(SERVICES)

    running = awaited()
    try:
        running.send(None)
    except StopIteration as stop:
        exit_ = run_sync(drawn, SERVICES)
        assert stop.value == type(stop.value).from_result(exit_)
        assert isinstance(exit_, Success | Failure)
    else:
        raise AssertionError("it waited")
