"""The error of ``perdure run`` when it cannot begin: one line that names the fix, and the exit code."""

import gc
import logging
import os
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest

from perdure.cli.commands import run_command

ROOT = logging.getLogger()

MODULES = {
    "good": "from perdure import App\napp = App(None)\nword = 'app'\n",
    "wrong": "from perdure import every\nevery('soon')\n",
    "broken": "1 / 0\n",
    "poor": "import a_package_that_does_not_exist\n",
    "closed": """
from contextlib import asynccontextmanager
from perdure import App

@asynccontextmanager
async def services():
    raise OSError("no route to the database")
    yield None

app = App(services)

def breaks():
    raise RuntimeError("not today")
""",
}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path) -> None:
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[None]:
    """Run a command in this process, in the folder of the modules, and undo its settings of the process."""
    thresholds, handlers, paths, level = gc.get_threshold(), list(ROOT.handlers), list(sys.path), ROOT.level
    with chdir(tmp_path):
        yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()
    ROOT.handlers[:], sys.path[:] = handlers, paths
    ROOT.setLevel(level)
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("app", "'app' does not name an app; write MODULE:APP"),
        ("good:", "write MODULE:APP"),
        ("good.py:app", "'good.py:app': MODULE is the name of a module, not of a file; write good:app"),
        ("./shop/good.py:app", "write shop.good:app"),
        ("goood:app", "no module 'goood'; looked in"),
        ("good.jobs:app", "no module 'good.jobs'"),
        ("good:ap", "module good has no attribute 'ap'; it has good:app"),
        ("good:word", "'good:word' is of type str, not an App; name the result of App(services).with_jobs(...)"),
        ("good:App", "'good:App' is the class App, not an App"),
        ("wrong:app", "a definition in wrong is invalid: interval of a schedule: expected"),
        ("broken:app", "importing broken raised ZeroDivisionError: division by zero"),
        ("poor:app", "poor was found, and imports a_package_that_does_not_exist, which is not installed"),
        ("closed:breaks", "closed:breaks() raised RuntimeError: not today"),
        ("closed:app", "the app cannot be opened: OSError: no route to the database"),
    ],
)
def test_an_app_that_cannot_be_served(here, capsys, target, said):
    assert run_command(["run", target, "--store", "memory://"]) == 2
    error = capsys.readouterr().err
    assert f"perdure: {said}" in error or (error.startswith("perdure:") and said in error)


def test_an_app_is_imported_before_a_port_or_a_store_is_touched(here, capsys, tmp_path):
    """A deploy with broken code joins no store, and says nothing of a port that its predecessor still has."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        serve = ["--store", "sqlite:///jobs.db", "--bind", bind]
        assert run_command(["serve", "broken:app", *serve]) == 2
        assert "importing broken raised ZeroDivisionError" in capsys.readouterr().err
        assert run_command(["serve", "good:app", *serve]) == 2
        assert f"cannot listen on {bind}" in capsys.readouterr().err
    assert not list(tmp_path.glob("jobs.db*"))


@pytest.mark.parametrize("target", ["broken:app", "poor:app", "closed:breaks", "closed:app"])
def test_the_traceback_of_the_users_own_code_is_shown(here, capsys, target):
    assert run_command(["run", target, "--store", "memory://"]) == 2
    error = capsys.readouterr().err
    assert f'{target.partition(":")[0]}.py", line' in error
    assert "app_loader.py" not in error
    assert "importlib" not in error


@pytest.mark.parametrize(
    ("store", "code", "said"),
    [
        ("jobs.db", 2, "did you mean 'sqlite:///jobs.db'?"),
        ("sqlite:jobs.db", 2, "expected 'sqlite:///relative.db'"),
        ("mongo://jobs", 2, "store URL: expected a URL of one of the schemes"),
        ("sqlite:///", 2, "'sqlite:///relative.db'"),
        ("sqlite:///good.py", 2, "good.py"),
        ("sqlite:///jobs.db?if_missing=refuse", 2, "sqlite:///jobs.db was not created"),
        ("sqlite:///no/such/folder/jobs.db", 1, "its folder must exist and be writable"),
        ("sqlite:////dev/full/jobs.db", 1, "Not a directory"),
    ],
)
def test_a_store_that_cannot_be_opened(start, store, code, said):
    """1: the store may become available without an operator. 2: an operator must act."""
    command = start("run", "good:app", "--store", store)
    assert command.end() == code
    assert said in command.error
    assert "Traceback" not in command.error


def test_a_file_of_a_newer_version(start, tmp_path):
    first = start("run", "good:app", "--store", "sqlite:///jobs.db")
    first.line("serving")
    first.process.terminate()
    first.end()
    connection = sqlite3.connect(tmp_path / "jobs.db")
    connection.execute("pragma user_version = 9999")
    connection.close()
    command = start("run", "good:app", "--store", "sqlite:///jobs.db")
    assert command.end() == 2
    assert "has schema version 9999" in command.error
    assert "upgrade perdure" in command.error


def test_a_driver_that_is_not_installed(start, tmp_path):
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "sitecustomize.py").write_text("import sys\nsys.modules['aiosqlite'] = None\n")
    path = os.pathsep.join(filter(None, [str(tmp_path / "blocked"), os.environ.get("PYTHONPATH")]))
    command = start("run", "good:app", "--store", "sqlite:///jobs.db", PYTHONPATH=path)
    assert command.end() == 2
    assert "pip install 'perdure[sqlite]'" in command.error
