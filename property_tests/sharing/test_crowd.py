"""Several engines on one store lose nothing, apply nothing twice, and repeat nothing without a mark."""

import os

import pytest
from crowd import Crowd
from ledger_crowd import LedgerCrowd

SEEDS = [
    *range(int(os.environ.get("PERDURE_CROWDS", "20"))),
    10125,  # an engine freezes between its look at its lease and the effect
]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_crowd_over_engines_that_suffer(seed: int) -> None:
    Crowd(seed).run()


@pytest.mark.parametrize("seed", range(3))
def test_a_crowd_over_healthy_engines(seed: int) -> None:
    crowd = Crowd(seed, mishaps=False)
    crowd.run()
    assert len(crowd.heard) == len(set(crowd.heard)), "healthy engines repeat nothing"


@pytest.mark.parametrize("seed", range(int(os.environ.get("PERDURE_CROWDS", "6"))))
def test_the_answers_of_engines_that_suffer_are_linearizable(seed: int) -> None:
    LedgerCrowd(seed).run()
