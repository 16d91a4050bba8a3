"""The question before a change that cannot be undone, or that affects many instances."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import attrs
from cyclopts import Parameter

from perdure.cli.usage_error import UsageError
from perdure.values.excerpt import one_line


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class ConfirmOptions:
    """The options ``--yes`` and ``--dry-run``."""

    yes: Annotated[
        bool, Parameter(negative="", help="Ask no question. Where there is no terminal to ask on, you must pass it.")
    ] = False
    dry_run: Annotated[bool, Parameter(negative="", help="Print the affected addresses, and change nothing.")] = False


ASK: Final = ConfirmOptions()


def is_confirmed(question: str, options: ConfirmOptions) -> bool:
    """Ask the user on the terminal, unless the options answer.

    Args:
        question: such as ``terminate 3 instances``.
        options: the options of the command.

    Raises:
        UsageError: there is no terminal to ask on.
    """
    if options.yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError(f"{question}: standard input is not a terminal, so no question can be asked; pass --yes")
    sys.stderr.write(f"{one_line(question)}? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
