"""Fake services: drawn results for every effect, within the types that its annotation declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import attrs
from hypothesis import strategies as st
from hypothesis.errors import ResolutionFailed
from returns.result import Failure, Success

from perdure.programs import ServiceCall
from perdure.programs.effect_results import Declared, Undeclared, declared_by
from perdure.testing.simulation.simulated_run import effect_name
from perdure.testing.typed import from_type
from perdure.values.errors import PerdureError

Answers: TypeAlias = st.SearchStrategy[Any]  # of the results of any effect
Failures: TypeAlias = Literal["drawn", "never"]
"""Whether services may fail with the errors they declare."""


@attrs.frozen(repr=False)
class NoAnswer(PerdureError):
    """The fake services cannot draw a result for an effect.

    Attributes:
        effect: its name.
        reason: the reason.
    """

    effect: str
    reason: str

    def _text(self) -> str:
        return (
            f"no answer of {self.effect} can be drawn: {self.reason}; annotate it, such as -> FutureResult[Token, "
            f"AuthError], or pass a strategy: fake_services(answers={{{self.effect!r}: a_strategy_of_results}}) or "
            "fake_services(types={ThatClass: a_strategy})"
        )


@attrs.frozen(repr=False)
class FakeServices:
    """Drawn results instead of services. Pass it to `simulate` as the services; `fake_services` is a strategy of them.

    Attributes:
        data: Hypothesis' source of drawn values.
        answers: strategies for some effects, by name.
        types: strategies for some of the declared types.
        failures: whether services may fail with their declared errors.
        services: the services for programs that read them (`asks`); no effect is performed on them.
    """

    data: st.DataObject
    answers: Mapping[str, Answers] = attrs.Factory(dict[str, Answers])
    types: Mapping[Any, st.SearchStrategy[Any]] = attrs.Factory(dict[Any, st.SearchStrategy[Any]])
    failures: Failures = "drawn"
    services: object = None

    def __repr__(self) -> str:
        return "Oracle(...)"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001 - the protocol of hypothesis' printer
        printer.text(repr(self))  # each drawn value is shown at its call

    def answer(self, instruction: object) -> object:
        """Draw the result of an effect.

        Raises:
            NoAnswer: neither a strategy nor an annotation describes it.
        """
        given = self.answers.get(effect_name(instruction))
        strategy = self._derived(instruction) if given is None else given
        try:
            drawn: object = self.data.draw(strategy, label=f"{instruction!r} ->")
        except ResolutionFailed as failed:
            reason = f"a type in it does not describe its values ({failed})"
            raise NoAnswer(effect_name(instruction), reason) from failed
        return drawn

    def _derived(self, instruction: object) -> Answers:
        if not isinstance(instruction, ServiceCall):
            raise NoAnswer(effect_name(instruction), "it is not a call of a service")
        match declared_by(instruction.fn):
            case Undeclared(reason):
                raise NoAnswer(instruction.name, reason)
            case Declared() as declared:
                return answers_within(declared, self.failures, tuple(self.types.items()))


def fake_services(
    *,
    answers: Mapping[str, Answers] | None = None,
    types: Mapping[Any, st.SearchStrategy[Any]] | None = None,
    failures: Failures = "drawn",
    services: object = None,
) -> st.SearchStrategy[FakeServices]:
    """Draw fake services, which return a drawn result of the declared type for every effect of a simulated program.

    A failing example shows each drawn result, shrunk to the simplest ones that still fail.

    Args:
        answers: strategies of results (``Success``, ``Failure``) for some effects, by name.
        types: strategies for some of the declared types, such as ``{int: st.integers(1, 99)}``.
        failures: whether services may fail with their declared errors.
        services: the services for programs that read them (`asks`).
    """

    def seeing(data: st.DataObject) -> FakeServices:
        return FakeServices(data, answers=answers or {}, types=types or {}, failures=failures, services=services)

    return _with_data(seeing)


@st.composite
def _with_data(draw: st.DrawFn, seeing: Callable[[st.DataObject], FakeServices]) -> FakeServices:
    return seeing(draw(st.data()))


@lru_cache(maxsize=256)
def answers_within(
    declared: Declared, failures: Failures, types: tuple[tuple[Any, st.SearchStrategy[Any]], ...] = ()
) -> Answers:
    """Return a strategy for the results that an effect declares."""
    success: Callable[[object], object] = Success
    failure: Callable[[object], object] = Failure
    values = from_type(declared.value, using=dict(types)).map(success)
    if declared.error is None or failures == "never":
        return values
    return values | from_type(declared.error, using=dict(types)).map(failure)
