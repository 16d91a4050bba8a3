"""Stores that lose data only when they are killed at the wrong moment, and the case that catches each."""

import log_harness
import pytest

from perdure.testing.conformance import CASES, RequirementViolated, check_case
from perdure.testing.conformance.requirements import CUT_WRITE, KILLED_OPENING, MONOTONIC, SHOWS_WHAT_STAYS

BY_NAME = {case.name: case for case in CASES}

BROKEN = {
    log_harness.ShowsBeforeItWrites: ("a_kill_undoes_nothing_that_a_load_returned", SHOWS_WHAT_STAYS),
    log_harness.ReplaysTwice: ("a_kill_during_an_opening_loses_and_repeats_nothing", KILLED_OPENING),
    log_harness.RefusesACutLine: ("a_write_that_a_kill_cut_spoils_nothing", CUT_WRITE),
    log_harness.AppendsToACutLine: ("a_write_that_a_kill_cut_spoils_nothing", CUT_WRITE),
    log_harness.RenumbersAtCompaction: ("sequences_survive_compaction", MONOTONIC),
}


@pytest.mark.parametrize("new_harness", BROKEN, ids=lambda one: one.__name__)
def test_a_store_that_breaks_under_a_kill_is_caught(new_harness):
    name, requirement = BROKEN[new_harness]
    with pytest.raises(RequirementViolated) as caught:
        check_case(BY_NAME[name], new_harness)
    assert requirement in caught.value.requirements
    assert len(str(caught.value).splitlines()) <= 30, "a failure fits one screen"


@pytest.mark.parametrize("name", dict.fromkeys(name for name, _ in BROKEN.values()))
def test_the_same_store_without_the_bug_is_accepted(name):
    assert check_case(BY_NAME[name], log_harness.LogHarness)
