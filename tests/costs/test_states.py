"""A state is decoded once in a turn and encoded once, however many steps the turn takes; never without need."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType

import pytest
from classes import CLASSES

from costs import Class, cost_of
from perdure.codecs import Codec

WATCHED: dict[CodeType, str] = {Codec.decode.__code__: "decoded", Codec.encode.__code__: "encoded"}

TURNS = {
    "its repeat": 0,
    "ten such events at the same moment": 10,
    "an event that tells another job, and its delivery": 2,
    "a terminate": 0,
    "an idle hour": 0,
}
"""How many turns look at a state; one, where nothing is said."""

BORN = {
    "the first event of an instance": 1,  # its initial state
    "a start of a continuous job, and its first run": 1,  # the state that the caller passes
}
"""How many states are encoded besides that of the turn, because an instance begins with them."""


@contextmanager
def watching(counts: Counter[str]) -> Iterator[None]:
    """Count how often a state is decoded and encoded."""

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code in WATCHED and frame.f_locals["self"].what.startswith("state of"):
            counts[WATCHED[frame.f_code]] += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before)


@pytest.mark.parametrize("request_class", CLASSES, ids=lambda request_class: request_class.name)
def test_a_state_is_decoded_and_encoded_once_in_a_turn(request_class: Class, tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    cost_of(request_class, tmp_path, watching(counts))
    turns = TURNS.get(request_class.name, 1)
    assert counts["decoded"] <= turns
    assert counts["encoded"] <= turns + BORN.get(request_class.name, 0)
