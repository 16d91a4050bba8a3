"""Programs of any depth run at the default recursion limit, and are printed and freed there too."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
from returns.iterables import Fold
from returns.result import Failure, Success

from perdure.programs import Do, Program, fail, program, run_sync, succeed, traverse

MILLION = 1_000_000
NESTED = 100_000


def plus_one(value: int) -> int:
    return value + 1


CHAINS: dict[str, tuple[Program[Any, Any, Any], Callable[[Program[Any, Any, Any]], Program[Any, Any, Any]]]] = {
    "bind": (succeed(0), lambda built: built.bind(lambda value: succeed(value + 1))),
    "map": (succeed(0), lambda built: built.map(plus_one)),
    "lash": (fail(0), lambda built: built.lash(lambda error: fail(error + 1))),
    "alt": (fail(0), lambda built: built.alt(plus_one)),
    "tap": (succeed("kept"), lambda built: built.tap(succeed)),
    "on_exit": (succeed("kept"), lambda built: built.on_exit(succeed(None))),
    "modify_env": (succeed("kept"), lambda built: built.modify_env(lambda services: services)),
}


@pytest.fixture(autouse=True)
def _default_recursion_limit():
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.parametrize("chain", CHAINS)
def test_any_depth_nested_to_the_left(chain):
    built, wrap = CHAINS[chain]
    depth = MILLION if chain == "bind" else NESTED
    for _ in range(depth):
        built = wrap(built)
    assert len(repr(built)) < 100
    exit_ = run_sync(built, None)
    assert exit_ in {Success(depth), Failure(depth), Success("kept")}
    del built  # frees all those programs, one inside the other


def test_a_million_binds_nested_to_the_right():
    def count(value: int) -> Program[int]:
        return succeed(value) if value >= MILLION else succeed(value + 1).bind(count)

    assert run_sync(count(0), None) == Success(MILLION)


@program
def nest(depth: int, innermost: Program[Any, Any, Any]) -> Do[Any, Any, Any]:
    if depth == 0:
        return (yield from innermost)
    return (yield from nest(depth - 1, innermost))


@pytest.mark.parametrize("ending", [succeed("deep"), fail("deep")])
def test_a_hundred_thousand_nested_do_blocks(ending):
    assert run_sync(nest(NESTED, ending), None) == run_sync(ending, None)


def test_a_defect_comes_out_of_a_hundred_thousand_nested_do_blocks():
    exit_ = run_sync(nest(NESTED, succeed(1).map(lambda value: value / 0)), None)
    assert isinstance(exit_.cause, ZeroDivisionError)
    del exit_  # frees its traceback


def test_a_do_block_may_loop_for_ever():
    @program
    def loop() -> Do[int]:
        total = 0
        for _ in range(NESTED):
            total += yield from succeed(1)
        return total

    assert run_sync(loop(), None) == Success(NESTED)


def test_traverse_and_fold_take_many():
    assert run_sync(traverse(range(NESTED), succeed), None) == Success(tuple(range(NESTED)))
    assert run_sync(Fold.collect([succeed(1)] * 5_000, succeed(())), None) == Success((1,) * 5_000)
