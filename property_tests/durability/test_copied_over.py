"""``docs/guarantees.md``, *A file has one owner*: a file that another program overwrites is noticed at the next commit.

The moment is drawn from the whole of an engine's work, its checkpoints included. The nightly form tries as often as the
trials did that found an engine which took the copy for its own checkpoint.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from copied_over import Mishap, Trial, trial
from hypothesis import settings

NIGHTLY = settings.get_current_profile_name() == "nightly"

TRIALS: tuple[tuple[Mishap, int, int], ...] = (("copied over", 8, 148), ("copied over", 1, 55), ("truncated", 8, 65))


def trials(mishap: Mishap, callers: int, number: int) -> Iterator[tuple[int, Trial]]:
    for seed in range(number if NIGHTLY else 8):
        with TemporaryDirectory(prefix="perdure-") as folder:
            yield seed, trial(Path(folder), mishap, callers=callers, seed=seed)


@pytest.mark.parametrize(("mishap", "callers", "number"), TRIALS)
def test_it_is_noticed_and_nothing_is_acknowledged_afterwards(mishap: Mishap, callers: int, number: int) -> None:
    for seed, found in trials(mishap, callers, number):
        assert found.is_noticed, seed
        assert found.acknowledged_after == 0, seed
