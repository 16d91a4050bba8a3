"""How soon a standby serves after its owner was killed, and what waiting costs.

Run it with ``python docs/benchmarks/standby.py [ROUNDS]``. Each round kills the owner of a SQLite file with SIGKILL,
waits until the standby says that it serves, and starts a new standby. Times are from the signal to that line; most of a
round is the look at the lock, which comes every 200 ms.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 20
IDLE_SECONDS = 20.0
APP = "from perdure import App\napp = App(None)\n"


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    """Start a worker."""
    command = [sys.executable, "-m", "perdure", "run", "idle:app", "--store", "sqlite:///jobs.db", *options]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def wait_for(worker: subprocess.Popen[str], text: str) -> None:
    """Wait until a worker prints this."""
    assert worker.stdout is not None  # noqa: S101 - it is a pipe
    while text not in worker.stdout.readline():
        pass


def cpu_seconds(process: int) -> float:
    """Say how much time of the processor a process took so far: fields 14 and 15 of ``/proc/PID/stat``."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(rounds: int) -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "idle.py").write_text(APP, encoding="utf-8")
        owner = start(folder)
        wait_for(owner, "serving")
        took_ms: list[float] = []
        for _ in range(rounds):
            standby = start(folder, "--standby")
            wait_for(standby, "waiting for the lock")
            began = time.perf_counter()
            owner.send_signal(signal.SIGKILL)
            wait_for(standby, "serving")
            took_ms.append((time.perf_counter() - began) * 1e3)
            owner.wait()
            owner = standby
        standby = start(folder, "--standby")
        wait_for(standby, "waiting for the lock")
        used = {worker.pid: cpu_seconds(worker.pid) for worker in (owner, standby)}
        time.sleep(IDLE_SECONDS)
        owner_cpu, standby_cpu = ((cpu_seconds(pid) - before) / IDLE_SECONDS for pid, before in used.items())
        for worker in (standby, owner):
            worker.kill()
            worker.wait()
    low, *_, high = sorted(took_ms)
    print(f"killed to serving, {rounds} rounds: median {statistics.median(took_ms):.0f} ms, {low:.0f} to {high:.0f} ms")
    print(f"processor while idle, of one core: owner {owner_cpu:.2%}, standby {standby_cpu:.2%}")
    print(f"load of the machine: {os.getloadavg()}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
