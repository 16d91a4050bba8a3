"""Drawn programs of every shape, for properties that hold for all of them."""

from __future__ import annotations

from typing import Any, TypeAlias

from hypothesis import strategies as st
from returns.context import RequiresContextFutureResult
from returns.future import FutureResult

from perdure.programs import Do, Program, lift, program

AnyProgram: TypeAlias = Program[Any, Any, Any]

NUMBERS: st.SearchStrategy[Any] = st.integers()


def programs(
    values: st.SearchStrategy[Any] = NUMBERS, errors: st.SearchStrategy[Any] = NUMBERS
) -> st.SearchStrategy[AnyProgram]:
    """Draw programs: from every constructor, composed with methods, in do-blocks and by each other's exits.

    They need no particular services, perform no effects and end at once.

    Args:
        values: the values of successes; whole numbers by default.
        errors: the errors of failures; whole numbers by default.
    """
    leaves = st.one_of(values.map(Program.from_value), errors.map(Program.from_failure), values.map(_read))
    return st.recursive(leaves, _composed, max_leaves=6)


def _read(value: object) -> AnyProgram:
    """Return a program that succeeds with a value through an effect."""
    return Program.from_future_result_context(RequiresContextFutureResult(lambda _: FutureResult.from_value(value)))


@program
def _first_of(one: AnyProgram, other: AnyProgram) -> Do[Any, Any, Any]:
    value = yield from one
    yield from other.attempt()
    return value


def _composed(inner: st.SearchStrategy[AnyProgram]) -> st.SearchStrategy[AnyProgram]:
    pairs = st.tuples(inner, inner)
    return st.one_of(
        pairs.map(lambda two: two[0].bind(lambda _: two[1])),
        pairs.map(lambda two: two[0].lash(lambda _: two[1])),
        pairs.map(lambda two: _first_of(*two)),
        pairs.map(lambda two: two[0].on_exit(two[1].attempt())),
        inner.map(_with_the_same_services),
        inner.map(_attempted),
        inner.map(lambda one: one.swap().swap()),
    )


def _attempted(one: AnyProgram) -> AnyProgram:
    return one.attempt().bind(lift)


def _with_the_same_services(one: AnyProgram) -> AnyProgram:
    return one.modify_env(_same)


def _same(services: object) -> object:
    return services
