"""A test that hangs fails with its stacks, and the tests after it run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[1] / "plugins"

HANGING = """
import asyncio
import threading

import pytest
from hypothesis import given, strategies


async def a_task_that_waits():
    await asyncio.get_running_loop().create_future()


def test_of_an_event_loop():
    asyncio.run(a_task_that_waits())


def test_of_a_lock():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


@given(strategies.integers())
def test_of_examples(number):
    while True:
        pass


def test_that_catches_everything():
    try:
        threading.Event().wait()
    except BaseException:
        pass


@pytest.fixture
def a_fixture():
    threading.Event().wait()


def test_of_a_fixture(a_fixture):
    pass


def test_the_next_one():
    pass
"""


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The output of a pytest of its own over the hanging tests."""
    folder = tmp_path_factory.mktemp("hanging")
    (folder / "pytest.ini").write_text("[pytest]\nhang_timeout = 1\n")
    (folder / "test_hanging.py").write_text(HANGING)
    command = [sys.executable, "-m", "pytest", "-v", "-phangs", "-p_hypothesis_pytestplugin", "-pno:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": str(PLUGINS), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    return run.stdout + run.stderr


@pytest.mark.parametrize("name", re.findall(r"def (test_(?:of|that)\w+)", HANGING))
def test_a_hang_fails_its_test_with_a_stack(printed: str, name: str) -> None:
    assert re.search(rf"::{name} (FAILED|ERROR)", printed), printed
    function = "a_fixture" if name == "test_of_a_fixture" else name
    assert re.search(rf'test_hanging.py", line \d+ in {function}\n', printed), printed


def test_a_waiting_task_is_shown(printed: str) -> None:
    assert "await asyncio.get_running_loop().create_future()" in printed


def test_the_run_continues_and_ends_with_its_summary(printed: str) -> None:
    assert "::test_the_next_one PASSED" in printed
    assert re.search(r"4 failed, 1 passed, 1 error in", printed), printed
