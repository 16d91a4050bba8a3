"""A plain `pytest` uses all cores; a run of named tests takes one process."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[1] / "plugins"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = test_one.py\n")
    (tmp_path / "test_one.py").write_text("def test_one():\n    pass\n")
    return tmp_path


def printed_by(project: Path, *arguments: str, plugins: tuple[str, ...] = ("-pxdist",), **more: str) -> str:
    command = [sys.executable, "-m", "pytest", "-v", "-pparallel", "-pno:cacheprovider", *plugins, *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(PLUGINS), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment |= {"PYTEST_XDIST_AUTO_NUM_WORKERS": "2", **more}
    run = subprocess.run(  # noqa: S603 - a pytest of our own
        command, cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert re.search(r"1 passed in", run.stdout), run.stdout + run.stderr
    return run.stdout


def test_all_tests_use_all_cores(project: Path) -> None:
    assert "created: 2/2 workers" in printed_by(project)


def test_a_pytest_within_a_worker_starts_no_further_ones(project: Path) -> None:
    assert "created: " not in printed_by(project, PYTEST_XDIST_WORKER="gw0")


@pytest.mark.parametrize("arguments", [("test_one.py",), ("-n", "0"), ("--pdb",)], ids=" ".join)
def test_named_tests_and_a_debugger_use_one_process(project: Path, arguments: tuple[str, ...]) -> None:
    assert "created: " not in printed_by(project, *arguments)


def test_a_number_of_processes_is_kept(project: Path) -> None:
    assert "created: 1/1 worker" in printed_by(project, "-n", "1")


def test_without_xdist_one_process_runs_them(project: Path) -> None:
    assert "created: " not in printed_by(project, plugins=())
