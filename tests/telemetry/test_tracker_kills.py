"""A short run of the kill loop: an engine and its endpoint die by SIGKILL, and no event is lost."""

import importlib.util
from pathlib import Path
from typing import Any

ROUNDS = 4
SCRIPT = Path(__file__).parents[2] / "docs" / "benchmarks" / "tracker_kills.py"


def kill_loop() -> Any:
    spec = importlib.util.spec_from_file_location("tracker_kills", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_event_is_lost_when_engine_and_endpoint_are_killed(tmp_path: Path) -> None:
    report = kill_loop().run(ROUNDS, 3, tmp_path)
    assert set(report.killed) == {"endpoint", "engine"}
    assert report.logged > 100
    assert (report.missing, report.unlike, report.unknown, report.unordered) == (0, 0, 0, 0), report
