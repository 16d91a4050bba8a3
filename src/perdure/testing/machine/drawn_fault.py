"""The drawn faults of a state machine: deaths of workers, and faults of the store and of effects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import attrs
from hypothesis import strategies as st

from perdure.testing.fault import OF_THE_STORE, STORE_OPERATIONS, Crash, Delay, Fail, Fault, Raise
from perdure.values.errors import OutcomeUnknown, StoreUnavailable


@attrs.frozen
class Death:
    """The worker dies: at its current step, or after this many further crossings."""

    after_crossings: int | None = None


DrawnFault: TypeAlias = Death | Fault

DEATHS: Final[st.SearchStrategy[DrawnFault]] = st.builds(Death, st.none() | st.integers(0, 12))
"""Deaths. A turn with effects crosses the boundary of its worker about eight times."""

_CALLS: Final = st.integers(1, 4)
_WHEN: Final = st.sampled_from(("before", "after"))


def _places(*operations: str) -> st.SearchStrategy[str]:
    return st.sampled_from([f"{OF_THE_STORE}{operation}" for operation in operations])


STORE_FAULTS: Final[st.SearchStrategy[DrawnFault]] = st.one_of(
    st.builds(Delay, _places(*STORE_OPERATIONS), st.just("2 s"), call=_CALLS),
    st.builds(
        Fail, _places("commit"), st.just(OutcomeUnknown("the answer was lost")), when=st.just("after"), call=_CALLS
    ),
    st.builds(
        Fail,
        _places("commit", "load", "due", "messages"),
        st.just(StoreUnavailable("work", "the store is down")),
        call=_CALLS,
    ),
)
"""Faults of a store: it is slow, silent, or unavailable."""


def faults_at(effects: Sequence[str]) -> st.SearchStrategy[DrawnFault]:
    """Draw a fault of an effect, whatever it declares: an exception, a lost or late result, a death."""
    at = st.sampled_from(effects)
    return st.one_of(
        st.builds(Raise, at, when=_WHEN), st.builds(Delay, at, st.just("3 s")), st.builds(Crash, at, when=_WHEN)
    )
