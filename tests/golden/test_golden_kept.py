"""A file with kept events, ``kept_N.sql``, is read and pruned: ``python tests/golden/write_golden.py kept`` made it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from kept_scene import START, app, few, long, plain, write_kept
from test_golden import restored, rows, shape_of
from write_golden import HERE

from perdure.cli.inspection.report import Report
from perdure.cli.inspection.verify import verified
from perdure.stores.sqlite.reader import read_from_outside
from perdure.testing import Clock, World

GOLDEN = sorted(HERE.glob("kept_*.sql"))
TABLES = ("histories", "kept_events")


@pytest.fixture(params=GOLDEN, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return restored(request.param, tmp_path)


def shapes_of(path: Path) -> set[Any]:
    kept = rows(path, "SELECT job, type, body FROM kept_events")
    schema = rows(path, "SELECT name, sql FROM sqlite_schema WHERE tbl_name IN ('histories', 'kept_events')")
    return {(job, type_, shape_of(json.loads(body))) for job, type_, body in kept} | set(schema)


def test_every_form_of_kept_events_is_in_a_golden_file(tmp_path: Path) -> None:
    golden: set[Any] = set()
    for file in GOLDEN:
        folder = tmp_path / file.stem
        folder.mkdir()
        golden |= shapes_of(restored(file, folder))
    write_kept(tmp_path / "jobs.db")
    assert shapes_of(tmp_path / "jobs.db") - golden == set()


def test_it_is_intact(path: Path) -> None:
    with read_from_outside(path) as reader:
        assert verified(reader, Report(str(path))).groups == {}


def test_the_history_continues_and_is_pruned(path: Path) -> None:
    with World(app, store=path, clock=Clock(START + timedelta(days=2))) as world:
        assert [len(world.history(job, "a")) for job in (long, few, plain)] == [6, 4, 1]
        assert [json.loads(event.payload) for event in world.history(long, "a")[:3]] == [20, 11, 10]
        world.advance("2 hours")
        assert [len(world.history(job, "a")) for job in (long, few, plain)] == [6, 3, 0]
        world.advance("91 days")
        assert [len(world.history(job, "a")) for job in (long, few, plain)] == [0, 3, 0]
