"""Standard output that is a closed pipe, a full disk, or no file at all: no traceback."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from perdure.stores.sqlite import open_sqlite

APP = "from perdure import App\napp = App(None)\n"
OUTPUTS = ["a closed pipe", "a full disk", "none"]
PATIENCE_S = 120


@contextmanager
def perdure(folder, output, *arguments) -> Iterator[subprocess.Popen[str]]:
    """Run a command with such an output."""
    (folder / "empty.py").write_text(APP)
    if output == "a closed pipe":
        reader, stdout = os.pipe()
        os.close(reader)
    else:
        stdout = os.open("/dev/full", os.O_WRONLY)
    command = [sys.executable, "-m", "perdure", *arguments]
    shell = ["sh", "-c", 'exec "$@" >&-', "sh", *command] if output == "none" else command
    with subprocess.Popen(shell, stdout=stdout, stderr=subprocess.PIPE, text=True, cwd=folder) as process:  # noqa: S603
        os.close(stdout)
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_worker_serves_without_it(tmp_path, output):
    with perdure(tmp_path, output, "run", "empty:app", "--store", "memory://") as process:
        assert process.stderr is not None
        assert "engine started" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        errors = process.stderr.read()
        assert process.wait(PATIENCE_S) == 0
    assert "Traceback" not in errors
    assert ("standard output cannot be written" in errors) == (output != "none")


@pytest.mark.parametrize(("output", "code"), list(zip(OUTPUTS, (2, 2, 0), strict=True)))
def test_another_command_says_so(tmp_path, output, code):
    async def create() -> None:
        await (await open_sqlite(tmp_path / "jobs.db")).close()

    asyncio.run(create())
    with perdure(tmp_path, output, "stats", "--store", "sqlite:///jobs.db") as process:
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code
    assert len(errors.splitlines()) == (code and 1)
