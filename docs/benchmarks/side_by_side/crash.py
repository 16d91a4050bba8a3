"""The crash test: every process of a system is killed twice while it runs jobs, and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from attrs import asdict, frozen

from side_by_side.place import Place, to_argument
from side_by_side.sink import Runs, read_sink

JOBS = 300
JOB_MS = 10
CONCURRENCY = 4
LOOK_SECONDS = 0.002


@frozen(kw_only=True)
class Survival:
    """What became of the jobs.

    Attributes:
        accepted: jobs that the system said it has.
        lost: of these, how many never ended.
        again: how many began more than once.
        marked: of these, how many were told so.
        in_flight: how many were running at one of the two kills, as far as can be seen from outside.
        recovered_s: from the start after the second kill, Python's own included, until a job began, and all that were
            running at that kill had ended; None: they never did.
    """

    accepted: int
    lost: int
    again: int
    marked: int
    in_flight: int
    recovered_s: float | None

    def printed(self) -> dict[str, object]:
        """Give it as JSON."""
        return asdict(self)


def crash(python: str, name: str, place: Place, timeout_s: float, environment: dict[str, str]) -> Survival:
    """Run 300 jobs of 10 ms, and kill all processes twice."""

    def start(workload: str) -> subprocess.Popen[bytes]:
        command = [python, "-m", "side_by_side.host", workload, name, to_argument(place), str(JOBS), "0"]
        return subprocess.Popen(command, start_new_session=True, env=environment, stdout=sys.stderr)

    process = start("accept")
    first = _kill_when(process, place, lambda runs: len(runs.ended) >= JOBS // 3, timeout_s)
    process = start("resume")
    wanted = (len(first.ended) + len(first.accepted)) // 2
    second = _kill_when(process, place, lambda runs: len(runs.ended) >= wanted, timeout_s)
    restarted_s = time.time()
    process = start("resume")
    last = _kill_when(process, place, lambda runs: runs.accepted <= runs.ended.keys(), timeout_s)
    return _survival(first, second, last, restarted_s)


def _kill_when(
    process: subprocess.Popen[bytes], place: Place, enough: Callable[[Runs], bool], timeout_s: float
) -> Runs:
    """Wait until the sink says enough, or the time is up; kill the whole group; give the sink."""
    until = time.monotonic() + timeout_s
    while not enough(read_sink(place.sink)) and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
    time.sleep(JOB_MS / 2e3)  # into the middle of the next jobs
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return read_sink(place.sink)


def _running(runs: Runs) -> set[int]:
    return runs.begun.keys() - runs.ended.keys()


def _survival(first: Runs, second: Runs, last: Runs, restarted_s: float) -> Survival:
    ended, caught = last.ended, _running(second)
    again = {number for number, times in last.begun.items() if times > 1}
    begun_s = [line.at_s for line in last.lines if line.what.startswith("begin") and line.at_s > restarted_s]
    recovered = begun_s and caught <= ended.keys()
    return Survival(
        accepted=len(last.accepted),
        lost=len(last.accepted - ended.keys()),
        again=len(again),
        marked=len(again & last.marked),
        in_flight=len(_running(first) | caught),
        recovered_s=max((min(begun_s), *(ended[number] for number in caught))) - restarted_s if recovered else None,
    )
