"""``docs/guarantees.md``, *A crash loses nothing that was acknowledged*: real processes under load, killed.

The long form is a script: ``python property_tests/durability/kill_loop.py``.
"""

from pathlib import Path
from random import Random

import pytest
from disk import Whim
from hypothesis import settings
from kill_loop import ForgetfulDisk, KillLoop, Moment, RealDisk, Successor, cut_relaxed

NIGHTLY = settings.get_current_profile_name() == "nightly"
ROUNDS = 60 if NIGHTLY else 10
CUTS = 60 if NIGHTLY else 2


def trace(seed: int, rounds: int) -> list[Moment]:
    """At once, which is in the middle of the recovery, or up to some hundred answers later."""
    random = Random(seed)  # noqa: S311 - reproducible on purpose
    return [
        Moment(0 if number % 4 == 3 else random.randrange(300), mercy=Whim(number, random.random()))
        for number in range(rounds)
    ]


@pytest.mark.parametrize("successor", ["started", "waiting"])
def test_processes_that_are_killed_lose_nothing_and_do_nothing_twice(tmp_path: Path, successor: Successor) -> None:
    loop = KillLoop(folder=tmp_path, disk=RealDisk(tmp_path), successor=successor)
    verdict = loop.run(trace(len(successor), ROUNDS))
    assert (verdict.lost, verdict.twice, verdict.broken, verdict.unmarked) == ((), (), (), ())
    assert verdict.acknowledged > 20 * ROUNDS


def test_processes_without_power_lose_nothing_and_do_nothing_twice(tmp_path: Path) -> None:
    loop = KillLoop(folder=tmp_path, disk=ForgetfulDisk(tmp_path))
    verdict = loop.run(trace(3, CUTS))
    assert (verdict.lost, verdict.twice, verdict.broken, verdict.unmarked) == ((), (), (), ())


def test_processes_without_power_lose_the_newest_at_most_if_durability_is_relaxed(tmp_path: Path) -> None:
    assert cut_relaxed(tmp_path, Moment(200)).broken == ()
