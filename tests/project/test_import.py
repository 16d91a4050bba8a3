"""`import perdure` is light: the modules of extras, and the event loop, are loaded by their users."""

import subprocess
import sys

import pytest

NOT_LOADED = frozenset(
    {
        "aiosqlite",  # the extra `sqlite`
        "asyncio",  # the asyncio runtime, loaded by the driver that runs on it
        "cyclopts",  # the extra `cli`
        "hypothesis",  # the extra `testing`
        "logging",  # telemetry is a sink that the user chooses
        "pytest",  # the extra `testing`
        "rich",  # the extra `cli`
        "sqlite3",  # the sqlite store
    }
)

PURE = ["perdure", "perdure.values", "perdure.programs", "perdure.jobs", "perdure.kinds"]


def loaded_by(module: str) -> frozenset[str]:
    code = f"import sys, {module}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - our own code
    return frozenset(run.stdout.split())


@pytest.mark.parametrize("module", PURE)
def test_a_pure_import_loads_no_loop_and_no_extra(module: str) -> None:
    assert loaded_by(module) & NOT_LOADED == frozenset()
