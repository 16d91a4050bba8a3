"""The costs of each class of requests are exactly those in ``docs/benchmarks.md``."""

from pathlib import Path

import pytest
from attrs import evolve
from classes import CLASSES
from cost_table import documented, row

from costs import Class, cost_of
from perdure import Limits

COSTS = {request_class.name: request_class for request_class in CLASSES}


@pytest.mark.parametrize("request_class", CLASSES, ids=lambda request_class: request_class.name)
def test_a_request_has_the_costs_of_the_page(request_class: Class, tmp_path: Path) -> None:
    found = row(request_class, cost_of(request_class, tmp_path))
    assert found == documented()[request_class.name], "if it is meant: python tests/costs/cost_table.py"


def test_the_page_has_no_line_too_many() -> None:
    assert set(documented()) == set(COSTS)


def test_an_event_without_effects_is_one_commit_and_a_claimed_run_two(tmp_path: Path) -> None:
    (tmp_path / "event").mkdir()
    (tmp_path / "claimed").mkdir()
    event = cost_of(COSTS["an event without effects"], tmp_path / "event")
    claimed = cost_of(COSTS["an event with an effect: claim, and commit"], tmp_path / "claimed")
    assert (event.commits, event.hops, event.rows) == (1, 1, 1)
    assert (claimed.commits, claimed.hops) == (2, 2)


def test_without_history_no_event_is_written(tmp_path: Path) -> None:
    """Each event that is not written saves a row: one of a first event, three of a start and its run."""
    without = Limits(history_events=0)
    for name, saved in (("the first event of an instance", 1), ("a start of a continuous job, and its first run", 3)):
        costs = []
        for number, request_class in enumerate((COSTS[name], evolve(COSTS[name], limits=without))):
            folder = tmp_path / f"{name} {number}"
            folder.mkdir()
            costs.append(cost_of(request_class, folder))
        assert costs[0].rows - costs[1].rows == saved
        assert costs[0].statements - costs[1].statements == saved


def test_commits_ready_together_share_one_transaction(tmp_path: Path) -> None:
    cost = cost_of(COSTS["ten such events at the same moment"], tmp_path)
    assert (cost.commits, cost.hops, cost.rows) == (1, 1, 10)


def test_an_idle_engine_writes_nothing(tmp_path: Path) -> None:
    cost = cost_of(COSTS["an idle hour"], tmp_path)
    assert (cost.rows, cost.wal_pages) == (0, 0)
