"""An oracle: makes up the answer of every service, within what the annotations of the effects declare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import attrs
from hypothesis import strategies as st
from hypothesis.errors import ResolutionFailed
from returns.result import Failure, Success

from perdure.programs import Call
from perdure.testing.simulation.declared import Declared, Undeclared, declared_by
from perdure.testing.simulation.step import effect_name
from perdure.testing.typed import from_type
from perdure.values.errors import PerdureError

Answers: TypeAlias = st.SearchStrategy[Any]  # of what the effect answers, whatever that is
Failures: TypeAlias = Literal["drawn", "never"]
"""Whether services may fail with the errors they declare."""


@attrs.frozen(repr=False)
class NoAnswer(PerdureError):
    """An oracle does not know what an effect may answer.

    Attributes:
        effect: its name.
        reason: why.
    """

    effect: str
    reason: str

    def _text(self) -> str:
        return (
            f"no answer of {self.effect} can be drawn: {self.reason}; annotate it, such as -> FutureResult[Token, "
            f"AuthError], or say what to draw: fake_services(answers={{{self.effect!r}: a_strategy_of_results}}), or "
            "fake_services(types={ThatClass: a_strategy})"
        )


@attrs.frozen(repr=False)
class FakeServices:
    """Answers in the place of services. Hand it to `simulate` where services go; `fake_services` is a strategy of them.

    Attributes:
        data: what it draws from.
        answers: strategies for some effects, by name.
        types: strategies for some of the declared types.
        failures: whether services may fail with their declared errors.
        services: what programs see that look at the services themselves (`asks`); no effect is performed on them.
    """

    data: st.DataObject
    answers: Mapping[str, Answers] = attrs.Factory(dict[str, Answers])
    types: Mapping[Any, st.SearchStrategy[Any]] = attrs.Factory(dict[Any, st.SearchStrategy[Any]])
    failures: Failures = "drawn"
    services: object = None

    def __repr__(self) -> str:
        return "Oracle(...)"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001 - the protocol of hypothesis' printer
        printer.text(repr(self))  # what was drawn is shown call by call

    def answer(self, instruction: object) -> object:
        """Draw the answer of an effect.

        Raises:
            NoAnswer: neither a strategy nor an annotation says what it may be.
        """
        given = self.answers.get(effect_name(instruction))
        strategy = self._derived(instruction) if given is None else given
        try:
            drawn: object = self.data.draw(strategy, label=f"{instruction!r} ->")
        except ResolutionFailed as failed:
            raise NoAnswer(effect_name(instruction), f"a type in it says nothing of its values ({failed})") from failed
        return drawn

    def _derived(self, instruction: object) -> Answers:
        if not isinstance(instruction, Call):
            raise NoAnswer(effect_name(instruction), "it is no call of a service")
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
    """Draw an oracle: it answers every effect of a simulated program within its declared types.

    A failing example shows each answer that was drawn, shrunk to the plainest that still fail.

    Args:
        answers: strategies of answers (``Success``, ``Failure``) for some effects, by name.
        types: strategies for some of the declared types, such as ``{int: st.integers(1, 99)}``.
        failures: whether services may fail with their declared errors.
        services: what programs see that look at the services themselves (`asks`).
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
    """Give a strategy for the answers that an effect declares."""
    success: Callable[[object], object] = Success
    failure: Callable[[object], object] = Failure
    values = from_type(declared.value, using=dict(types)).map(success)
    if declared.error is None or failures == "never":
        return values
    return values | from_type(declared.error, using=dict(types)).map(failure)
