"""``reference/behaviour.md`` 1, *Claims and repeats*, with real processes that a job kills with SIGKILL from within."""

import json
import subprocess
import sys
from pathlib import Path

KILLER = Path(__file__).with_name("killer.py")


def test_a_run_that_kills_its_process_is_parked_and_its_neighbour_is_not(tmp_path):
    """Claimed runs are resumed on opening, before new requests; a run that was recovered twice goes alone; if it kills
    the process again it is parked, and nothing beside it. The events say so."""
    processes = [
        subprocess.run(  # noqa: S603 - our own script
            [sys.executable, str(KILLER), str(tmp_path / "jobs.db"), str(tmp_path / "journal"), str(number)],
            capture_output=True,
            text=True,
            check=False,
        )
        for number in range(1, 5)
    ]
    assert [process.returncode for process in processes] == [-9, -9, -9, 0], processes[-1].stderr
    assert (tmp_path / "journal").read_text().splitlines() == [
        "1 wait 1",
        "1 kill 1",
        "2 kill 2",  # both at once, in the order of their births
        "2 wait 2",
        "3 kill 3",  # recovered twice: alone
        "4 wait 3",  # the neighbour is delivered, and only then the new request to it
        "4 later 1",
    ]
    assert json.loads(processes[-1].stdout) == {
        "later": "InstanceParked",
        "killer": ["parked", "recovery_exhausted"],
        "bystander": 2,
        "history": [
            ["job.started", None],
            ["job.recovered", 1],
            ["job.recovered", 2],
            ["job.parked", None],
        ],
    }
