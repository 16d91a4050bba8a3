"""The command line before any command begins."""

import subprocess
import sys

import pytest

from perdure.cli.commands import installed_version, run_command


def test_the_version(start):
    command = start("--version")
    assert command.end() == 0
    assert command.seen == [installed_version()]


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_help_names_every_command(start, arguments):
    command = start(*arguments)
    assert command.end() == 0
    text = "\n".join(command.seen)
    assert "run" in text
    assert "demo" in text


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
