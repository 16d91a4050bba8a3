"""A pure handler that kills its process, with real processes: no claim is there before it runs for the first time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SUSPECT = Path(__file__).with_name("suspect.py")


@pytest.mark.parametrize("how", ["message", "request"])
def test_a_pure_handler_that_kills_its_process_is_parked_in_the_end(tmp_path, how):
    """After a death, events are claimed before they are handled: so the deaths are counted, as those of a run."""
    arguments = [str(tmp_path / "jobs.db"), str(tmp_path / "journal"), how]
    processes = []
    while len(processes) < 10 and (not processes or processes[-1].returncode != 0):
        command = [sys.executable, str(SUSPECT), *arguments]
        processes.append(subprocess.run(command, capture_output=True, text=True, check=False))  # noqa: S603 - our own
    assert [process.returncode for process in processes] == [-9, -9, -9, -9, 0], processes[-1].stderr
    assert (tmp_path / "journal").read_text().splitlines().count("kill") == 4
    report = json.loads(processes[-1].stdout)
    assert report["history"][-3:] == [["job.recovered", 1], ["job.recovered", 2], ["job.parked", None]]
    assert (report["answer"], report["killer"]) == ("InstanceParked", ["parked", "recovery_exhausted"])
    assert report["bystander"] == (2 if how == "message" else 1), "its neighbours continue"
