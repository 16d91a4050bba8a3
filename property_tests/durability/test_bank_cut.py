"""``docs/guarantees.md``, *Durability*, over the whole library: power is cut while jobs are at work, and comes back."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from audit import audit, audit_prefix
from bank_cut import CLIENTS, BankRecording, power_comes_back, record_bank
from disk import Mercy, NoMercy, Whim
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recording import Chosen
from sick_disk import AILMENTS, Illness
from small_limits import TWOS

from perdure.runtime.record import DEFAULT_SIZES, Sizes

NIGHTLY = settings.get_current_profile_name() == "nightly"
STEPS = 12
CHECKPOINT_PAGES = 100  #: so that a short day sees several

mercies = st.just(NoMercy()) | st.builds(Whim, st.integers(0, 2**32), st.sampled_from([0.0, 0.5, 0.9]))
cuts = st.integers(0, 10**6)  # in millionths of the log
either = st.sampled_from([DEFAULT_SIZES, TWOS])
illnesses = st.builds(
    Illness, ailment=st.sampled_from(list(AILMENTS)), after=st.integers(0, 400), lasts=st.integers(1, 60)
)
few = settings(max_examples=300 if NIGHTLY else 15)  # each is a day of the whole library


@cache
def recording(durability: Chosen, sizes: Sizes = DEFAULT_SIZES) -> BankRecording:
    with TemporaryDirectory(prefix="perdure-") as folder:
        return record_bank(
            Path(folder), durability=durability, checkpoint_pages=CHECKPOINT_PAGES, steps=STEPS, sizes=sizes
        )


def place(day: BankRecording, millionths: int) -> int:
    return len(day.log) * millionths // 10**6


@given(cuts, mercies, either)
@few
def test_full_durability_loses_nothing_and_does_nothing_twice(millionths: int, mercy: Mercy, sizes: Sizes) -> None:
    day = recording("full", sizes)
    with TemporaryDirectory(prefix="perdure-") as folder:
        after = power_comes_back(day, place(day, millionths), mercy, Path(folder) / "disk", more=3)
    verdict = audit(after.acknowledged, after.stored, after.happened)
    assert (verdict.lost, verdict.twice, verdict.broken, verdict.unmarked) == ((), (), (), ())


@given(cuts, mercies, either)
@few
def test_relaxed_durability_loses_the_newest_and_breaks_nothing(millionths: int, mercy: Mercy, sizes: Sizes) -> None:
    day = recording("relaxed", sizes)
    with TemporaryDirectory(prefix="perdure-") as folder:
        after = power_comes_back(day, place(day, millionths), mercy, Path(folder) / "disk", more=0)
    assert audit_prefix(dict.fromkeys(CLIENTS, STEPS), after.stored) == ()


@given(illnesses, cuts, mercies)
@example(Illness(ailment="does nothing", after=0, lasts=60), 500_000, NoMercy())
@few
def test_a_disk_that_is_sick_for_a_while_costs_nothing_that_was_acknowledged(
    illness: Illness, millionths: int, mercy: Mercy
) -> None:
    """Clients repeat refused and unanswered steps, with their keys; then power is cut as well."""
    with TemporaryDirectory(prefix="perdure-") as folder:
        disk = Path(folder) / "sick"
        disk.mkdir()
        day = record_bank(disk, durability="full", checkpoint_pages=CHECKPOINT_PAGES, steps=STEPS, illness=illness)
        assert day.steps(len(day.log)) == dict.fromkeys(CLIENTS, STEPS)
        after = power_comes_back(day, place(day, millionths), mercy, Path(folder) / "disk", more=3)
    verdict = audit(after.acknowledged, after.stored, after.happened)
    assert (verdict.lost, verdict.twice, verdict.broken, verdict.unmarked) == ((), (), (), ())


def test_a_cut_near_the_end_of_a_relaxed_day_loses_something() -> None:
    """The model can tell: a step that was acknowledged since the last checkpoint is missing.

    Right after a checkpoint nothing can be lost, so that not each of the last cuts does.
    """
    day = recording("relaxed")
    last = sorted({place for place, _ in day.acknowledged})[-12:]
    assert any(lost_by_a_cut(day, cut) for cut in reversed(last))


def lost_by_a_cut(day: BankRecording, cut: int) -> tuple[object, ...]:
    with TemporaryDirectory(prefix="perdure-") as folder:
        after = power_comes_back(day, cut, NoMercy(), Path(folder) / "disk", more=0)
    return audit(after.acknowledged, after.stored, after.happened).lost
