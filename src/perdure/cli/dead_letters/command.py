"""``perdure dead-letters`` and ``redrive``: messages that failed too often."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

from cyclopts import Parameter, Token

from perdure.cli.confirmation import ASK, ConfirmOptions, is_confirmed
from perdure.cli.exit_code import ExitCode
from perdure.cli.instances.records import error_text, instant
from perdure.cli.json_lines import JsonOption, write_json
from perdure.cli.paging import paged
from perdure.cli.progress_bar import progress_bar
from perdure.cli.standard_output import write_lines
from perdure.cli.table import Table, write_table
from perdure.cli.target.opening import open_target
from perdure.cli.target.options import UNSET, TargetOptions
from perdure.cli.target.target import Target
from perdure.cli.usage_error import UsageError
from perdure.values.instant import from_ms
from perdure.values.message import StoredMessage
from perdure.wire.records import data_of

MAX_REDRIVEN: Final = 100_000
"""Messages of one command."""

EveryLetter = Annotated[bool, Parameter(name="--all", negative="")]


def dead_letters(
    *,
    target: TargetOptions = UNSET,
    after: int = 0,
    limit: int = 100,
    all_: EveryLetter = False,
    payload: Annotated[bool, Parameter(negative="")] = False,
    json: JsonOption = False,
) -> int:
    """List messages that failed too often, the oldest first.

    Exit code: 0 done, also if there are none; 2 the command cannot start; 4 no engine answers.

    Parameters
    ----------
    after
        The id of the last message of the previous page.
    limit
        Maximum number of messages.
    all_
        Print every dead letter.
    payload
        Print the inputs of the messages as well.
    """
    if limit < 1:
        raise UsageError(f"--limit {limit}: expected a number from 1")
    left, last = limit, None
    with open_target(target) as found:
        for page in _pages(found, after, None if all_ else limit + 1):
            shown = page if all_ else page[:left]
            if shown:
                _write(shown, json=json, heading=last is None, payload=payload)
                left, last = left - len(shown), shown[-1].message_id
            if len(shown) < len(page):
                sys.stderr.write(f"perdure: there are more dead letters; pass --all, or --after {last}\n")
    if last is None:
        sys.stderr.write("perdure: there are no dead letters\n")
    return ExitCode.DONE


def _message_id(_: type[int], tokens: Sequence[Token]) -> int:
    text = tokens[0].value
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"MESSAGE-ID {text!r}: expected the number of a dead letter; perdure dead-letters lists them")
    return int(text)


def redrive(
    *messages: Annotated[int, Parameter(name="MESSAGE-ID", converter=_message_id)],
    target: TargetOptions = UNSET,
    all_: EveryLetter = False,
    confirm: ConfirmOptions = ASK,
    json: JsonOption = False,
) -> int:
    """Deliver dead letters again, at their old position among the messages of their sender. Fix the cause first.

    It asks before it redrives all.

    Exit code: 0 done, 2 the command cannot start, 3 some were not found, 4 no engine answers, 5 unknown, 130 you
    answered no.

    Parameters
    ----------
    messages
        Their ids.
    all_
        Redrive every dead letter.
    """
    if bool(messages) == all_:
        raise UsageError("pass the ids of messages, or --all")
    with open_target(target) as found:
        chosen = messages or tuple(each.message_id for page in _pages(found, 0, MAX_REDRIVEN) for each in page)
        if confirm.dry_run:
            _print_dry_run(chosen, json=json)
            return ExitCode.DONE
        if not chosen:
            sys.stderr.write("perdure: there are no dead letters\n")
            return ExitCode.DONE
        found.check_engine()
        if all_ and not is_confirmed(f"redrive {_counted(len(chosen))}", confirm):
            sys.stderr.write("perdure: nothing changed\n")
            return ExitCode.INTERRUPTED
        return _redrive(found, chosen, json=json)


def _redrive(target: Target, chosen: tuple[int, ...], *, json: bool) -> ExitCode:
    done = 0
    with progress_bar("redrive", len(chosen)) as advance:
        for message_id in chosen:
            outcome = target.redrive(message_id)
            done += outcome == "redriven"
            if json:
                write_json([{"message_id": message_id, "outcome": outcome}])
            elif outcome == "not_found":
                write_lines([f"{message_id}  not found"])
            advance()
    if not json:
        write_lines([f"{done:,} of {_counted(len(chosen))} redriven"])
    return ExitCode.DONE if done == len(chosen) else ExitCode.REFUSED


def _pages(target: Target, after: int, most: int | None) -> Iterator[tuple[StoredMessage, ...]]:
    return paged(target.dead_letters, lambda each: each.message_id, after, most)


def _write(page: tuple[StoredMessage, ...], *, json: bool, heading: bool, payload: bool) -> None:
    if json:
        write_json(_data(each, payload=payload) for each in page)
        return
    columns = ("ID", "SENT", "SENDER", "TARGET", "ACTION", "ATTEMPTS", "ERROR", *(["PAYLOAD"] if payload else []))
    rows = tuple(_row(each, payload=payload) for each in page)
    write_table(Table(columns, rows, frozenset({"SENDER", "TARGET", "ERROR", "PAYLOAD"})), heading=heading)


def _row(stored: StoredMessage, *, payload: bool) -> tuple[str, ...]:
    message = stored.message
    return (
        str(stored.message_id),
        instant(from_ms(message.sent_ms)),
        str(message.sender),
        str(message.target),
        message.action,
        str(stored.attempts),
        error_text(stored.error),
        *([message.payload] if payload else []),
    )


def _data(stored: StoredMessage, *, payload: bool) -> dict[str, Any]:
    message = stored.message
    return {
        "message_id": stored.message_id,
        "sent_at": from_ms(message.sent_ms).isoformat(),
        "sender": str(message.sender),
        "target": str(message.target),
        "action": message.action,
        "attempts": stored.attempts,
        "error": data_of(stored.error),
        **({"payload": message.payload} if payload else {}),
    }


def _print_dry_run(chosen: tuple[int, ...], *, json: bool) -> None:
    if json:
        write_json({"message_id": message_id, "would": "redrive"} for message_id in chosen)
    else:
        write_lines(str(message_id) for message_id in chosen)
        sys.stderr.write(f"perdure: would redrive {_counted(len(chosen))}; nothing changed\n")


def _counted(number: int) -> str:
    return "1 dead letter" if number == 1 else f"{number:,} dead letters"
