"""What goes wrong by itself: crashes, and faults of the store."""

from __future__ import annotations

from typing import Final, TypeAlias

import attrs
from hypothesis import strategies as st

from perdure.testing.world import STORE_OPERATIONS, Fails, Fault, LosesAnswer, StoreFault, Takes
from perdure.values.errors import StoreUnavailable


@attrs.frozen
class Crash:
    """The worker dies: where it stands, or so many crossings later."""

    after_crossings: int | None = None


Mishap: TypeAlias = Crash | Fault

CRASHES: Final[st.SearchStrategy[Mishap]] = st.builds(Crash, st.none() | st.integers(0, 12))
"""Crashes. A turn with effects crosses its border about eight times."""

STORE_FAULTS: Final[st.SearchStrategy[Mishap]] = st.one_of(
    st.builds(StoreFault, st.sampled_from(STORE_OPERATIONS), st.just(Takes("2 s")), after=st.integers(0, 3)),
    st.builds(StoreFault, st.sampled_from(("commit", "load")), st.just(LosesAnswer()), after=st.integers(0, 3)),
    st.builds(
        StoreFault,
        st.sampled_from(("commit", "load", "due", "messages")),
        st.just(Fails(StoreUnavailable("work", "the store is down"))),
        after=st.integers(0, 3),
    ),
)
"""What goes wrong with a store: it is slow, silent, or down."""
