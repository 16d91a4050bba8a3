"""``perdure completion``: complete commands and options in a shell."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

from cyclopts import Parameter

from perdure.cli.process import ExitCode


def completion(shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(name="SHELL")], /) -> int:
    """Print a script that completes commands and options in your shell.

    Write it to the place where your shell looks for completions, such as
    ~/.local/share/bash-completion/completions/perdure.

    Parameters
    ----------
    shell
        bash, zsh or fish.
    """
    from perdure.cli.commands import command_line  # noqa: PLC0415 - it names this module

    sys.stdout.write(command_line().generate_completion(prog_name="perdure", shell=shell))
    return ExitCode.DONE
