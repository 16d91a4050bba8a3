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


Repeated: TypeAlias = Annotated[tuple[str, ...], Parameter(consume_multiple=False, negative="")]
"""An option that may be given several times."""


def pair_of(text: str, example: str) -> tuple[str, str]:
    """Return the name and the value of an option such as ``--answer fetch=3``.

    Raises:
        UsageError: it is not written like the example.
    """
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise UsageError(f"{text!r}: write {example}")
    return name.strip(), value.strip()


def share_of_calls(text: str) -> float:
    """Return a share such as ``5%`` as a number from 0 to 1.

    Raises:
        UsageError: it is no share.
    """
    number, percent, rest = text.partition("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = -1.0
    if rest or not 0 <= share <= 1:
        raise UsageError(f"{text!r} is no share of calls; write 5% or 0.05")
    return share


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
