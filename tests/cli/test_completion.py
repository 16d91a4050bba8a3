"""Completion scripts: they parse, and complete every command."""

import subprocess

import pytest

from perdure.cli.commands import COMMANDS, run_command


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_completes_every_command(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert run_command(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert {name for name in COMMANDS if name not in script} == set()
    assert "dry-run" in script


def test_bash_reads_its_script(capsys: pytest.CaptureFixture[str]) -> None:
    run_command(["completion", "bash"])
    script = capsys.readouterr().out
    complete = f"{script}\nCOMP_WORDS=(perdure termi) COMP_CWORD=1; _perdure; echo ${{COMPREPLY[@]}}"
    run = subprocess.run(["bash", "-c", complete], capture_output=True, text=True, check=True)  # noqa: S603, S607 - of the system
    assert run.stdout.split() == ["terminate"]
