"""The command line before any command begins."""

import subprocess
import sys

import pytest

from perdure.cli.commands import COMMANDS, installed_version, run_command

HEAVY = frozenset(
    {
        "aiosqlite",
        "httpx2",
        "hypothesis",
        "perdure.examples",
        "perdure.server",
        "perdure.stores.sqlite.thread",
        "perdure.testing",
        "pytest",
        "rich.live",
        "starlette",
        "uvicorn",
    }
)


def test_the_version(start):
    command = start("--version")
    assert command.end() == 0
    assert command.seen == [installed_version()]


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_help_names_every_command(start, arguments):
    command = start(*arguments)
    assert command.end() == 0
    assert "run" in "\n".join(command.seen)


def test_the_list_of_commands_imports_none_of_them() -> None:
    code = "import sys; from perdure.cli.main import main; main(['--help']); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - our own code
    *shown, modules = run.stdout.splitlines()
    loaded = set(modules.split())
    assert loaded & HEAVY == set()
    assert {command.path.partition(":")[0] for command in COMMANDS.values()} & loaded == set()
    listed = {line[1:].split()[0] for line in shown if line[:1] == "│" and line[2:3] not in ("", " ")}
    assert set(COMMANDS) <= listed


def test_the_help_of_a_command_loads_no_engine_and_no_client() -> None:
    code = "import sys; from perdure.cli.main import main; main(['list', '--help']); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - our own code
    loaded = set(run.stdout.splitlines()[-1].split())
    assert (
        loaded & (HEAVY | {"perdure.app", "perdure.client.client", "perdure.engine.running", "perdure.kinds"}) == set()
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_of_a_command_is_the_first_line_of_its_docstring(name: str) -> None:
    command = COMMANDS[name]
    assert (command.load().__doc__ or "").split("\n\n")[0].split() == command.help.split()


@pytest.mark.parametrize("arguments", [("rum",), ("run",), ("run", "a:b", "--store"), ("demo", "--seconds", "soon")])
def test_a_wrong_command_line_is_a_configuration_error(capsys, arguments):
    assert run_command(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out + printed.err != ""


@pytest.mark.parametrize("missing", ["cyclopts", "rich"])
def test_a_missing_extra_says_how_to_install_it(missing):
    code = f"import sys; sys.modules[{missing!r}] = None; from perdure.cli.main import main; sys.exit(main([]))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603 - our own code
    assert run.returncode == 2
    assert "pip install 'perdure[cli]'" in run.stderr
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize("module", ["rich", "perdure.cli.commands", "perdure.cli.engine"])
def test_an_interrupt_while_modules_are_imported_is_no_traceback(module):
    code = f"""
import sys

class Interrupting:
    def find_spec(self, name, *_):
        if name == {module!r}:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting())
from perdure.cli.main import main
sys.exit(main(["counts", "--server", "http://127.0.0.1:1"]))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603 - our own code
    assert (run.returncode, run.stderr) == (130, "")
