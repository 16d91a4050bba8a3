"""``docs/guarantees.md``, *Unknown commit outcomes*: a disk that fails at every call.

Full, read-only, or broken for a while: acknowledged commits are there, refused ones are not, and the store continues
when the disk does. A system whose sync failed considers its unwritten pages written: later answers
must not rest on that.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from sick_disk import AILMENTS, Illness, Recovery, recovery

NIGHTLY = settings.get_current_profile_name() == "nightly"
LASTS = (1, 2, 5, 10**6)
STEP = 1 if NIGHTLY else len(LASTS)  # each duration begins at a place of its own: together they are sick at each place
READS = range(0, 30, 1 if NIGHTLY else 7)


def sweep(folder: Path, ailment: str, lasts: int) -> Iterator[tuple[Illness, Recovery]]:
    """Let the disk be sick from each place on, one after the other."""
    well = recovery(folder / "well", None)
    assert set(well.answers.values()) == {"ok"}
    for place in range(LASTS.index(lasts) % STEP, well.asked, STEP):
        illness = Illness(ailment=ailment, after=place, lasts=lasts)
        yield illness, recovery(folder / str(place), illness)


@pytest.mark.parametrize("lasts", LASTS)
@pytest.mark.parametrize("ailment", AILMENTS)
def test_everything_acknowledged_is_stored_and_the_store_continues(ailment: str, lasts: int) -> None:
    answers: set[str] = set()
    with TemporaryDirectory(prefix="perdure-") as folder:
        for illness, found in sweep(Path(folder), ailment, lasts):
            answers.update(found.answers.values())
            judge(illness, found)
    assert "OutcomeUnknown" in answers


def judge(illness: Illness, found: Recovery) -> None:
    acknowledged = {id_ for id_, word in found.answers.items() if word == "ok"}
    refused = {id_ for id_, word in found.answers.items() if word == "StoreUnavailable"}
    assert acknowledged <= found.there, illness
    assert acknowledged <= found.after_a_cut, illness
    assert not refused & found.there, illness
    assert found.damage == (), illness
    assert found.afterwards == "ok", illness
    assert "afterwards" in found.after_a_cut, illness
    assert {*found.answers.values()} <= {"ok", "StoreUnavailable", "OutcomeUnknown"}, illness
    assert found.read <= {"ok", "StoreUnavailable"}, illness


@pytest.mark.parametrize("unread", [1, 2, 7])
@pytest.mark.parametrize("ailment", ["does not sync", "does not write"])
def test_reads_that_fail_as_well_take_nothing_away(ailment: str, unread: int) -> None:
    """A commit fails, the file is opened again, and now the disk does not read the pages that the empty cache needs.

    SQLite's number for changes by other connections moves then: no other connection is there.
    """
    said: set[str] = set()
    with TemporaryDirectory(prefix="perdure-") as folder:
        well = recovery(Path(folder) / "well", None)
        for place in range(0, well.asked, 2 * STEP):
            for reads in READS:
                illness = Illness(ailment=ailment, after=place, lasts=5, reads_before=reads, unread=unread)
                found = recovery(Path(folder) / f"{place}-{reads}", illness)
                said |= {*found.read, *found.answers.values()}
                judge(illness, found)
    assert "StoreUnavailable" in said
