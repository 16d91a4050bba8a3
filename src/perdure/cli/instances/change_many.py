"""The same request to each of the selected instances."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import attrs

from perdure.cli.confirmation import ConfirmOptions, is_confirmed
from perdure.cli.exit_code import ExitCode, code_of
from perdure.cli.instances.answers import answer_lines, code_of_answer
from perdure.cli.instances.filters import FilterOptions
from perdure.cli.instances.selection import selected
from perdure.cli.json_lines import write_json
from perdure.cli.progress_bar import progress_bar
from perdure.cli.standard_output import write_lines
from perdure.cli.target.opening import open_target
from perdure.cli.target.options import TargetOptions
from perdure.cli.target.target import Ask, Target
from perdure.values.address import Address
from perdure.values.errors import PerdureError
from perdure.wire.diagnosis import readable_answer

AskOf: TypeAlias = Callable[[Target, Address], Ask | str]
"""Returns the request to an instance, or why it gets none."""

_STOPS: Final = frozenset({ExitCode.UNREACHABLE, ExitCode.UNKNOWN, ExitCode.MISCONFIGURED})


@attrs.frozen(kw_only=True)
class Change:
    """A change of one instance or of many.

    Attributes:
        verb: the command, such as ``terminate``.
        ask_of: builds each request.
        is_destructive: whether one instance needs a confirmation as well.
    """

    verb: str
    ask_of: AskOf
    is_destructive: bool = False


@attrs.frozen(kw_only=True)
class Selection:
    """The options of a command that select instances, and answer its question.

    Attributes:
        addresses: named by the caller.
        wanted: the filter.
        every: whether all instances are selected.
        confirm: the options ``--yes`` and ``--dry-run``.
    """

    addresses: tuple[str, ...]
    wanted: FilterOptions
    every: bool
    confirm: ConfirmOptions


def change_many(change: Change, selection: Selection, options: TargetOptions, *, json: bool) -> ExitCode:
    """Select instances, ask, send a request to each, and print the answers.

    It stops at the first request that no engine answered; a refused one does not stop the others.

    Args:
        change: the request.
        selection: the instances.
        options: the target.
        json: whether to print JSON lines.

    Returns:
        ``DONE`` if every request was applied, else the greatest exit code.
    """
    with open_target(options) as target:
        chosen = selected(target, selection.addresses, selection.wanted, every=selection.every)
        if selection.confirm.dry_run:
            _print_dry_run(change.verb, chosen, json=json)
            return ExitCode.DONE
        if not chosen:
            sys.stderr.write("perdure: no instance matches\n")
            return ExitCode.DONE
        target.check_engine()
        is_asked = change.is_destructive or not selection.addresses
        if is_asked and not is_confirmed(_question(change.verb, chosen), selection.confirm):
            sys.stderr.write("perdure: nothing changed\n")
            return ExitCode.INTERRUPTED
        return _apply(change, target, chosen, json=json)


def _apply(change: Change, target: Target, chosen: tuple[Address, ...], *, json: bool) -> ExitCode:
    worst, done = ExitCode.DONE, 0
    with progress_bar(change.verb, len(chosen)) as advance:
        for address in chosen:
            code, result = _applied(change, target, address)
            worst, done = max(worst, code), done + (code is ExitCode.DONE)
            _print(address, code, result, json=json, alone=len(chosen) == 1)
            advance()
            if code in _STOPS:
                break
    if len(chosen) > 1:
        sys.stderr.write(f"perdure: {change.verb}: {done:,} of {_counted(len(chosen))} done\n")
    return worst


def _applied(change: Change, target: Target, address: Address) -> tuple[ExitCode, Any]:
    try:
        asked = change.ask_of(target, address)
        if isinstance(asked, str):
            return ExitCode.REFUSED, {"problem": asked}
        answer = target.call(asked)
    except PerdureError as error:
        return code_of(error), {"problem": str(error)}
    return code_of_answer(answer), {"action": asked.action, "answer": answer}


def _print(address: Address, code: ExitCode, result: dict[str, Any], *, json: bool, alone: bool) -> None:
    if json:
        write_json([{"address": str(address), "exit_code": int(code), **result}])
    elif "problem" in result:
        write_lines([f"{address}  {result['problem']}"])
    else:
        answer = readable_answer(address.kind, result["answer"])
        text = ", ".join(f"{name} {value}" for name, value in answer_lines(answer))
        if alone or code is not ExitCode.DONE:
            write_lines([f"{address}  {text}"])


def _print_dry_run(verb: str, chosen: tuple[Address, ...], *, json: bool) -> None:
    if json:
        write_json({"address": str(address), "would": verb} for address in chosen)
    else:
        write_lines(str(address) for address in chosen)
        sys.stderr.write(f"perdure: would {verb} {_counted(len(chosen))}; nothing changed\n")


def _question(verb: str, chosen: tuple[Address, ...]) -> str:
    return f"{verb} {chosen[0]}" if len(chosen) == 1 else f"{verb} {_counted(len(chosen))}, {chosen[0]} to {chosen[-1]}"


def _counted(number: int) -> str:
    return "1 instance" if number == 1 else f"{number:,} instances"
