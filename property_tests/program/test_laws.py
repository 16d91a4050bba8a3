"""The laws: those of `returns`, and those that tie the operations of a program together.

`check_all_laws` alone is content with a `map` that does nothing; `check_container`, which takes any container, is
not. Below it are the laws of programs alone.
"""

from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from returns.contrib.hypothesis.laws import check_all_laws
from returns.result import Failure, Success

from perdure.programs import Do, Program, program, run_sync
from perdure.testing.laws import check_container, programs

SERVICES = 7


def of_types(container: Any = None) -> st.SearchStrategy[Program[Any, Any, Any]]:
    """Draw programs of every shape; `container` is the ``Program[...]`` whose arguments name their types."""
    value, error = (*getattr(container, "__args__", (int, int)), int)[:2]
    return programs(st.from_type(value), st.from_type(error))


check_all_laws(
    Program,
    container_strategy=of_types,
    settings_kwargs={"max_examples": 25, "deadline": None, "suppress_health_check": HealthCheck},
)

ANY = programs()
CONTINUATIONS = st.functions(like=lambda value: None, returns=ANY, pure=True)


def same(one: Program[Any, Any, Any], other: Program[Any, Any, Any]) -> None:
    assert run_sync(one, SERVICES) == run_sync(other, SERVICES)


def test_the_operations_belong_together():
    check_container(Program, ANY, run=lambda drawn: run_sync(drawn, SERVICES))


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


@given(ANY)
def test_swap_exchanges_value_and_error(drawn):
    assert run_sync(drawn.swap(), SERVICES) == run_sync(drawn, SERVICES).swap()


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
