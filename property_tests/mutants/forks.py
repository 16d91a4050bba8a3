"""A process that runs pytest for each line that it reads, in a fork of itself that has imported all but the library.

To import pytest, Hypothesis and the packages of the library takes longer than most tests that kill a mutant. So this
process imports them once, and never the library: each fork imports a copy of it. A line has the arguments of pytest,
the environment with the path of the copy, and the limits, as JSON; the answer is a line with the exit code of pytest,
null if it did not end in time. With ``cpu_s``, a run takes no more seconds of a processor than that, and no file of
tests more than half of them: the tests after them are left out.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LIBRARY = ("perdure", "pytest_perdure")
ALL = "perdure.testing, perdure.server, perdure.client, perdure.remote, perdure.dashboard, perdure.cli.main"
POLL_S = 0.02
FILES_OF_BUDGET = 2
LEAST_S = 1.0
USED_UP = "used up by "
"""Begins the line in the output that names the test without an end."""

OUTPUT = 1_000  # the descriptor of the output, which pytest does not capture
ENDS_S = 10  # for the fixtures of a run that is told to end: a PostgreSQL server has to be stopped


def _import_all_but_the_library() -> None:
    code = f"import sys, pytest, hypothesis.stateful, _hypothesis_pytestplugin, {ALL}; print(*sys.modules)"
    # In their order: imported before `asyncio`, `_asyncio` would leave it without its own half.
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()  # noqa: S603 - our own code
    for name in names:
        if name.partition(".")[0] not in LIBRARY:
            try:
                importlib.import_module(name)
            except ImportError:  # a module that another one makes, when it is imported
                continue


class Budget:
    """A plugin of pytest: leave out the tests for which no time is left, and end the process in one that uses it up."""

    def __init__(self, cpu_s: float) -> None:
        self.cpu_s, self.of_each, self.ends = cpu_s, cpu_s / FILES_OF_BUDGET, 0.0
        self.of_file = Counter[str]()
        self.start, self.test = 0.0, ""
        signal.signal(signal.SIGPROF, self._end)

    def pytest_runtest_setup(self, item: Any) -> None:
        """Skip a test, if there is no time. Without its phases, the next one would find the fixtures of others."""
        import pytest  # noqa: PLC0415 - imported before the fork

        self.start, self.test = _cpu_s(), item.nodeid
        self.ends = self.ends or self.start + self.cpu_s  # the imports are not counted
        left = min(self.ends - self.start, self.of_each - self.of_file[item.location[0]])
        if left <= 0:
            pytest.skip("no time left")
        signal.setitimer(signal.ITIMER_PROF, max(left, LEAST_S))

    def pytest_runtest_logfinish(self, location: tuple[str, int | None, str]) -> None:
        """Count the time of a test."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.of_file[location[0]] += _cpu_s() - self.start

    def _end(self, number: int, frame: object) -> None:
        # Not an exception: code under test would catch it, and run on or fail.
        os.write(OUTPUT, f"\n{USED_UP}{self.test}\n".encode())
        os._exit(1)


def _cpu_s() -> float:
    """Return the time that the processor spent on this process and on those that it started."""
    return sum(os.times()[:4])


def _run(order: dict[str, Any]) -> int:
    """Run pytest, in the fork."""
    os.setsid()
    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (output, 1), (output, 2), (output, OUTPUT)):
        os.dup2(source, target)
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.dont_write_bytecode, sys.pycache_prefix = False, os.environ["PYTHONPYCACHEPREFIX"]
    sys.path[:0] = [order["environment"]["PYTHONPATH"], str(ROOT)]
    sys.argv[:] = ["pytest"]
    import pytest  # noqa: PLC0415 - imported before the fork

    plugins = [] if order["cpu_s"] is None else [Budget(order["cpu_s"])]
    return int(pytest.main(order["arguments"], plugins))


def _code_of(process: int, patience_s: float) -> int | None:
    """Wait for a fork; end it, and all that it started, if it takes too long."""
    code = _ended(process, patience_s)
    if code is None:
        os.kill(process, signal.SIGINT)
    is_over = code is not None or _ended(process, ENDS_S) is not None
    with suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)  # also the processes that its tests left
    if not is_over:
        os.waitpid(process, 0)
    return code


def _ended(process: int, patience_s: float) -> int | None:
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(POLL_S)
    return None


def main() -> None:
    """Serve the lines of the standard input."""
    _import_all_but_the_library()
    for line in sys.stdin:
        order = json.loads(line)
        process = os.fork()
        if process == 0:
            sys.exit(_run(order))
        sys.stdout.write(f"{json.dumps(_code_of(process, order['patience_s']))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
