"""The commands by name. To add one, write a module for it and add a line here."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from cyclopts import App, CycloptsError

from perdure.cli.backup import backup
from perdure.cli.check.command import check
from perdure.cli.demo.command import demo
from perdure.cli.exit_code import ExitCode
from perdure.cli.run import run
from perdure.cli.snapshot.command import snapshot
from perdure.cli.stats.command import stats
from perdure.cli.usage_error import UsageError
from perdure.cli.vacuum import vacuum
from perdure.cli.verify.command import verify
from perdure.values.excerpt import one_line


def installed_version() -> str:
    """Return the installed version."""
    try:
        return f"perdure {version('perdure')}"
    except PackageNotFoundError:  # run from a checkout that was not installed
        return "perdure (not installed)"


COMMANDS = App(
    name="perdure",
    help="Durable jobs written as pure programs.",
    version=installed_version,
    help_format="markdown",
)
COMMANDS.command(run)
COMMANDS.command(check)
COMMANDS.command(snapshot)
COMMANDS.command(backup)
COMMANDS.command(verify)
COMMANDS.command(stats)
COMMANDS.command(vacuum)
COMMANDS.command(demo)


def run_command(arguments: Sequence[str]) -> int:
    """Run a command. Turn a usage error into one line on standard error and an exit code."""
    try:
        code = COMMANDS(arguments, exit_on_error=False, print_error=True, result_action="return_value")
    except CycloptsError:
        return ExitCode.MISCONFIGURED
    except UsageError as problem:
        sys.stderr.write(f"{problem.details}perdure: {one_line(problem.problem)}\n")
        return problem.exit_code
    return code if isinstance(code, int) else ExitCode.DONE
