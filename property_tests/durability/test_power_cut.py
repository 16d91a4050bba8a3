"""``docs/guarantees.md``, *Durability*: the content of the store after a power cut.

The log of a load on a real SQLite file is cut everywhere. Unsynced writes are lost, or an arbitrary part of them
survives, torn into sectors. The store of the library opens the surviving files.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from disk import NoMercy, Whim
from hypothesis import given, settings
from hypothesis import strategies as st
from power_cut import Judge, Recording, record
from recording import Chosen

NIGHTLY = settings.get_current_profile_name() == "nightly"
TRANSITIONS = 300 if NIGHTLY else 60
CHECKPOINT_PAGES = 40  #: so that a short load sees several


@cache
def recording(durability: Chosen, *pragmas: str) -> Recording:
    with TemporaryDirectory(prefix="perdure-") as folder:
        return record(
            Path(folder),
            durability=durability,
            checkpoint_pages=CHECKPOINT_PAGES,
            pragmas=pragmas,
            transitions=TRANSITIONS,
        )


@contextmanager
def judge(recording: Recording) -> Iterator[Judge]:
    with TemporaryDirectory(prefix="perdure-") as folder:
        yield Judge(Path(folder), recording)


@pytest.mark.parametrize("durability", ["full", "relaxed"])
def test_acknowledged_commits_are_there_and_no_commit_is_half_written(durability: Chosen) -> None:
    """Every write that was not synced is lost.

    Full durability: every acknowledged transition is there. Relaxed: all that was acknowledged before the last
    checkpoint. Both: the content is a prefix of the transitions, in the order of their commits, each complete.
    """
    with judge(recording(durability)) as court:
        for cut in court.recording.cuts:
            there = court.transitions(cut, NoMercy())
            assert there >= court.recording.promised(cut, durability), f"lost by a cut at {cut}"
            assert there <= court.recording.asked(cut), f"made up by a cut at {cut}"


@pytest.mark.parametrize("durability", ["full", "relaxed"])
@given(data=st.data())
def test_other_surviving_files_do_no_harm(durability: Chosen, data: st.DataObject) -> None:
    """Any part of the unsynced writes survives, torn into sectors."""
    with judge(recording(durability)) as court:
        cut = data.draw(st.sampled_from(court.recording.cuts), label="cut")
        kept = data.draw(st.sampled_from([0.0, 0.5, 0.9, 0.98]), label="kept as a whole")
        there = court.transitions(cut, Whim(data.draw(st.integers(0, 2**32), label="seed"), kept))
        assert court.recording.promised(cut, durability) <= there <= court.recording.asked(cut)


@pytest.mark.parametrize("pragmas", [("synchronous = NORMAL",), ("synchronous = OFF",)])
def test_the_cut_finds_commits_acknowledged_before_they_were_durable(pragmas: tuple[str, ...]) -> None:
    """The model can tell: without a sync for each commit, acknowledged transitions are missing."""
    with judge(recording("full", *pragmas)) as court:
        lost = [
            court.recording.acknowledged(cut) - court.transitions(cut, NoMercy()) for cut in court.recording.cuts[::10]
        ]
    assert max(lost) > 0
