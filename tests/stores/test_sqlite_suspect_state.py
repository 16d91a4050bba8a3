"""An `initial` or an upcaster that kills its process, with real processes: its deaths are counted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SUSPECT = Path(__file__).with_name("suspect_state.py")
MOST_STARTS = 10


def starts(tmp_path, how, code):
    command = [sys.executable, str(SUSPECT), str(tmp_path / "jobs.db"), str(tmp_path / "journal"), how, code]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - our own


@pytest.mark.parametrize("how", ["first message", "first request", "message", "request", "alarm", "start"])
def test_code_before_the_handler_that_kills_its_process_is_parked_in_the_end(tmp_path, how):
    """A message runs it, a request that its caller repeats, an alarm, or a start that decodes again a state that other
    code could not. Its neighbours continue: an event, and a run that the deaths may interrupt.
    """
    for code in ("old", "other") if how == "start" else ("old",):
        assert starts(tmp_path, how, code).returncode == 0
    processes = [starts(tmp_path, how, "new")]
    while processes[-1].returncode != 0 and len(processes) < MOST_STARTS:
        processes.append(starts(tmp_path, how, "new"))
    codes = [process.returncode for process in processes]
    assert (len(codes), codes[-1]) == (5, 0), (codes, processes[-1].stderr)
    assert (tmp_path / "journal").read_text().splitlines() == ["kill"] * 4
    told = json.loads(processes[-1].stdout)
    assert told["history"][-3:] == [["job.recovered", 1], ["job.recovered", 2], ["job.parked", None]]
    assert (told["killer"], told["answer"]) == (["parked", "recovery_exhausted"], "InstanceParked")
    assert told["state"] == (None if how.startswith("first") else "unreadable")
    assert told["runner"] is None, "it was never alone to blame"
