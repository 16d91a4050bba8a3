"""``docs/guarantees.md``, *Unknown commit outcomes*: a disk that fails at every call.

Full, read-only, or broken for a while: whoever was answered is there, whoever was refused is not, and the store goes on
when the disk does. A system that could not sync takes what it could not write for written: what is answered afterwards
must not rest on that.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from sick_disk import AILMENTS, Illness, Recovery, recovery

NIGHTLY = settings.get_current_profile_name() == "nightly"
STEP = 1 if NIGHTLY else 2


def sweep(folder: Path, ailment: str, lasts: int) -> Iterator[tuple[Illness, Recovery]]:
    """Let the disk be sick from each place on, one after the other."""
    well = recovery(folder / "well", None)
    assert set(well.told.values()) == {"ok"}
    for place in range(0, well.asked, STEP):
        illness = Illness(ailment=ailment, after=place, lasts=lasts)
        yield illness, recovery(folder / str(place), illness)


@pytest.mark.parametrize("lasts", [1, 2, 5, 10**6])
@pytest.mark.parametrize("ailment", AILMENTS)
def test_nothing_is_acknowledged_that_is_not_there_and_the_store_goes_on(ailment: str, lasts: int) -> None:
    told: set[str] = set()
    with TemporaryDirectory(prefix="perdure-") as folder:
        for illness, found in sweep(Path(folder), ailment, lasts):
            told.update(found.told.values())
            acknowledged = {id_ for id_, word in found.told.items() if word == "ok"}
            refused = {id_ for id_, word in found.told.items() if word == "StoreUnavailable"}
            assert acknowledged <= found.there, illness
            assert acknowledged <= found.after_a_cut, illness
            assert not refused & found.there, illness
            assert found.damage == (), illness
            assert found.afterwards == "ok", illness
            assert "afterwards" in found.after_a_cut, illness
    assert "OutcomeUnknown" in told
    assert told <= {"ok", "StoreUnavailable", "OutcomeUnknown"}
