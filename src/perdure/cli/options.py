"""The options that several commands share: the app, the store, ``--json``, ``--yes`` and ``--dry-run``."""

from __future__ import annotations

import sys
from typing import Annotated, Final, TypeAlias

import attrs
from cyclopts import Parameter

from perdure.cli.process import UsageError
from perdure.values.excerpt import one_line

AppArgument: TypeAlias = Annotated[
    str,
    Parameter(
        name="--app",
        env_var="PERDURE_APP",
        help="The app, written MODULE:APP: an App, or a function without parameters that returns one. The current "
        "directory is searched first. --app may be left out.",
    ),
]


StoreOption: TypeAlias = Annotated[str, Parameter(env_var="PERDURE_STORE")]
"""A store's URL, from the command line or the environment."""

StoreIfAny: TypeAlias = Annotated[str | None, Parameter(env_var="PERDURE_STORE")]
"""The same option where a command can work without a store."""


JsonOption: TypeAlias = Annotated[bool, Parameter(negative="", help="Print JSON instead of text, one object a line.")]
"""The option ``--json`` for commands that read."""


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class ConfirmOptions:
    """The options ``--yes`` and ``--dry-run``."""

    yes: Annotated[
        bool, Parameter(negative="", help="Ask no question. Where there is no terminal to ask on, you must pass it.")
    ] = False
    dry_run: Annotated[bool, Parameter(negative="", help="Print the affected addresses, and change nothing.")] = False


CONFIRM_FIRST: Final = ConfirmOptions()


def is_confirmed(question: str, options: ConfirmOptions) -> bool:
    """Ask the user on the terminal, unless the options answer.

    Args:
        question: such as ``terminate 3 instances``.
        options: the command's options.

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
