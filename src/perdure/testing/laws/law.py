"""A law: a sentence, and a property that Hypothesis tries to violate."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


class LawViolated(AssertionError):
    """A law does not hold; the cause is the example that violates it, as Hypothesis found and shrunk it.

    Attributes:
        law: the sentence.
    """

    def __init__(self, law: str, found: AssertionError) -> None:
        super().__init__(f"{law}\n{found}")
        self.law = law


@attrs.frozen
class Law:
    """A property that always holds.

    Attributes:
        says: the sentence.
        holds: draws an example and raises an ``AssertionError`` if it violates the law.
    """

    says: str
    holds: Callable[[st.DataObject], None]


def check_laws(laws: Iterable[Law], *, max_examples: int) -> None:
    """Try to violate each law.

    Args:
        laws: the laws.
        max_examples: the number of examples of each.

    Raises:
        LawViolated: a law does not hold.
    """
    for law in laws:
        try:
            _tried(law, max_examples)
        except AssertionError as found:
            raise LawViolated(law.says, found) from found


def _tried(law: Law, max_examples: int) -> None:
    health = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.nested_given)

    @settings(max_examples=max_examples, deadline=None, suppress_health_check=health)
    @given(st.data())
    def try_to_break(data: st.DataObject) -> None:
        law.holds(data)

    try_to_break()
