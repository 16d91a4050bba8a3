"""``docs/guarantees.md``, *A crash loses nothing that was acknowledged*: real processes under load, killed.

The long form is a script: ``python property_tests/durability/kill_loop.py``.
"""

from pathlib import Path
from random import Random

import pytest
from hypothesis import settings
from kill_loop import KillLoop, Moment, Successor

NIGHTLY = settings.get_current_profile_name() == "nightly"
ROUNDS = 60 if NIGHTLY else 10


def moments(seed: int) -> list[Moment]:
    """At once, which is in the middle of the recovery, or up to some hundred answers later."""
    random = Random(seed)  # noqa: S311 - reproducible on purpose
    return [Moment(0 if number % 4 == 3 else random.randrange(300)) for number in range(ROUNDS)]


@pytest.mark.parametrize("successor", ["started", "waiting"])
def test_processes_that_are_killed_lose_nothing_and_do_nothing_twice(tmp_path: Path, successor: Successor) -> None:
    loop = KillLoop(folder=tmp_path, successor=successor)
    verdict = loop.run(moments(len(successor)))
    assert (verdict.lost, verdict.twice, verdict.broken, verdict.unmarked) == ((), (), (), ())
    assert verdict.acknowledged > 20 * ROUNDS
