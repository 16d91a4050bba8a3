"""``perdure dead-letters``, ``redrive``, ``left-messages``, ``bury``: messages and items that failed or are left."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, TypeAlias

from cyclopts import Parameter, Token

from perdure.cli.instances.presentation import error_text, instant
from perdure.cli.instances.selection import MAX_PAGE, address_of, paged, pages
from perdure.cli.options import CONFIRM_FIRST, ConfirmOptions, JsonOption, is_confirmed
from perdure.cli.output import Table, progress_bar, write_json, write_table
from perdure.cli.process import ExitCode, UsageError, write_lines
from perdure.cli.target.opening import UNSET, TargetOptions, open_target
from perdure.cli.target.target import Target
from perdure.kinds.worker_pool import WorkerPool
from perdure.values.address import Address
from perdure.values.excerpt import one_line
from perdure.values.listings import Listed, ListFilter
from perdure.values.message import StoredMessage
from perdure.values.times import from_ms
from perdure.wire.operations import BURY, DEAD_LETTERS, LEFT_MESSAGES, REDRIVE
from perdure.wire.records import data_of

MAX_REDRIVEN: Final = 100_000
"""Messages in one command."""

Waiting: TypeAlias = StoredMessage | Listed
"""A dead letter, or a parked worker-pool item."""

EveryLetter = Annotated[bool, Parameter(name="--all", negative="")]


def dead_letters(
    *,
    target: TargetOptions = UNSET,
    after: str = "0",
    limit: int = 100,
    all_: EveryLetter = False,
    payload: Annotated[bool, Parameter(negative="")] = False,
    json: JsonOption = False,
) -> int:
    """List dead letters and parked items: messages and items of worker pools that failed too often.

    First the messages, the oldest first, then the items, ordered by address. Each has its error, since when it waits,
    and the command that repeats it after you fixed the cause. A running engine leaves out items whose pool it does not
    serve: `perdure list --status orphaned` lists them.

    Exit code: 0 done, also if there are none. 2 the command cannot start. 4 no engine answers.

    Parameters
    ----------
    after
        The previous page's last line: a message id, or an item's address.
    limit
        Print at most this many messages and items.
    all_
        Print every dead letter and parked item.
    payload
        Also print the messages' inputs.
    """
    if limit < 1:
        raise UsageError(f"--limit {limit}: expected a number from 1")
    begin: int | Address = int(after) if _is_number(after) else address_of(after)
    left, last, families = limit, None, set[type[Waiting]]()
    with open_target(target) as found:
        for page in _waiting(found, begin, None if all_ else limit + 1):
            shown = page if all_ else page[:left]
            if shown:
                _write(shown, json=json, heading=type(shown[0]) not in families, payload=payload)
                families.add(type(shown[0]))
                left, last = left - len(shown), _key_of(shown[-1])
            if len(shown) < len(page):
                sys.stderr.write(f"perdure: there are more; pass --all, or --after {_in_shell(last)}\n")
    if last is None:
        sys.stderr.write("perdure: there are no dead letters and no parked items\n")
    return ExitCode.DONE


def _waiting(target: Target, after: int | Address, most: int | None) -> Iterator[tuple[Waiting, ...]]:
    """Yield pages that each have one family: dead letters first, because a page's key says which pages follow."""
    left = most
    if isinstance(after, int):
        for letters in _pages(target, after, most):
            yield letters
            left = None if left is None else left - len(letters)
    begin = after if isinstance(after, Address) else None
    yield from pages(target, ListFilter(kind=WorkerPool.kind, status="parked", after=begin), left, lambda: None)


def _key_of(waiting: Waiting) -> str:
    return str(waiting.message_id if isinstance(waiting, StoredMessage) else waiting.address)


def _in_shell(key: str | None) -> str:
    return shlex.quote(one_line(str(key)))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _message_id(_: type[int], tokens: Sequence[Token]) -> int:
    text = tokens[0].value
    if ":" in text:
        raise UsageError(
            f"{text} is an address, and redrive takes the ids of messages: perdure retry {_in_shell(text)}"
        )
    if not _is_number(text):
        raise UsageError(f"MESSAGE-ID {text!r}: expected the number of a dead letter; perdure dead-letters lists them")
    return int(text)


def redrive(
    *messages: Annotated[int, Parameter(name="MESSAGE-ID", converter=_message_id)],
    target: TargetOptions = UNSET,
    all_: EveryLetter = False,
    confirm: ConfirmOptions = CONFIRM_FIRST,
    json: JsonOption = False,
) -> int:
    """Deliver dead letters again, at their old position among the messages of their sender. Fix the cause first.

    It asks before it redrives all. Parked worker-pool items are not messages: `perdure retry ADDRESS` runs one again,
    and `perdure retry --kind pool --status parked` runs all.

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


def left_messages(*, target: TargetOptions = UNSET, limit: int = 100, json: JsonOption = False) -> int:
    """List messages that code left to other code, because it cannot read them or their target.

    It lists the first message for each sender and target: all later ones wait behind it. Code that can read the message
    takes it by itself. If no code ever will, because it is damaged, bury it. A running engine lists the messages to
    jobs that it serves.

    Exit code: 0 done, also if there are none. 2 the command cannot start. 4 no engine answers.

    Parameters
    ----------
    limit
        Print at most this many messages, up to 1,000.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise UsageError(f"--limit {limit}: expected a number from 1 to {MAX_PAGE:,}")
    with open_target(target) as found:
        page = found.perform(LEFT_MESSAGES, limit=limit)
    if json:
        write_json(_data_of_left(each) for each in page)
    elif page:
        columns = ("ID", "SENT", "SENDER", "TARGET", "ACTION", "PROBLEM")
        write_table(Table(columns, tuple(map(_row_of_left, page)), frozenset({"SENDER", "TARGET", "PROBLEM"})))
    else:
        sys.stderr.write("perdure: no message is left\n")
    return ExitCode.DONE


def _row_of_left(stored: StoredMessage) -> tuple[str, ...]:
    message, sent = stored.message, instant(from_ms(stored.message.sent_ms))
    ends = (str(message.sender), str(message.target))
    return str(stored.message_id), sent, *ends, message.action, error_text(stored.error)


def _data_of_left(stored: StoredMessage) -> dict[str, Any]:
    message = stored.message
    return {
        "message_id": stored.message_id,
        "sent_at": from_ms(message.sent_ms).isoformat(),
        "sender": str(message.sender),
        "target": str(message.target),
        "action": message.action,
        "error": None if stored.error is None else data_of(stored.error),
    }


def bury(
    *messages: Annotated[int, Parameter(name="MESSAGE-ID", converter=_message_id)],
    target: TargetOptions = UNSET,
    json: JsonOption = False,
) -> int:
    """Make messages that no code will ever read dead letters, so that those behind them are delivered.

    `perdure left-messages` lists them, and `perdure redrive` turns them back.

    Exit code: 0 done, 2 the command cannot start, 3 some were not found, 4 no engine answers, 5 unknown.

    Parameters
    ----------
    messages
        Their ids.
    """
    if not messages:
        raise UsageError("pass the ids of messages; perdure left-messages lists them")
    with open_target(target) as found:
        found.check_engine()
        outcomes = {each: found.perform(BURY, message_id=each) for each in messages}
    if json:
        write_json({"message_id": each, "outcome": outcome} for each, outcome in outcomes.items())
    else:
        write_lines(f"{each}  {outcome.replace('_', ' ')}" for each, outcome in outcomes.items())
    return ExitCode.REFUSED if "not_found" in outcomes.values() else ExitCode.DONE


def _redrive(target: Target, chosen: tuple[int, ...], *, json: bool) -> ExitCode:
    done = 0
    with progress_bar("redrive", len(chosen)) as advance:
        for message_id in chosen:
            outcome = target.perform(REDRIVE, message_id=message_id)
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
    def read(after: int, limit: int) -> tuple[StoredMessage, ...]:
        return target.perform(DEAD_LETTERS, after=after, limit=limit)

    return paged(read, lambda each: each.message_id, after, most)


def _write(page: tuple[Waiting, ...], *, json: bool, heading: bool, payload: bool) -> None:
    if json:
        write_json(_data(each, payload=payload) for each in page)
        return
    if isinstance(page[0], StoredMessage):
        columns = ("ID", "SENT", "SENDER", "TARGET", "ACTION", "DELIVERIES", "ERROR", *(["PAYLOAD"] if payload else []))
    else:
        columns = ("ITEM", "SINCE", "ATTEMPTS", "REASON", "ERROR")
    rows = tuple(_row(each, payload=payload) for each in page)
    folded = frozenset({"SENDER", "TARGET", "ERROR", "PAYLOAD", "ITEM", "COMMAND"})
    write_table(Table((*columns, "COMMAND"), rows, folded), heading=heading)


def _row(waiting: Waiting, *, payload: bool) -> tuple[str, ...]:
    if isinstance(waiting, Listed):
        report = waiting.report
        return (
            str(waiting.address),
            instant(report.since),
            str(report.attempt),
            report.parked or "",
            error_text(report.last_error),
            _command(waiting),
        )
    message = waiting.message
    return (
        str(waiting.message_id),
        instant(from_ms(message.sent_ms)),
        str(message.sender),
        str(message.target),
        message.action,
        str(waiting.deliveries),
        error_text(waiting.error),
        *([message.payload] if payload else []),
        _command(waiting),
    )


def _command(waiting: Waiting) -> str:
    """Return the command that repeats it."""
    if isinstance(waiting, StoredMessage):
        return f"perdure redrive {waiting.message_id}"
    return f"perdure retry {_in_shell(str(waiting.address))}"


def _data(waiting: Waiting, *, payload: bool) -> dict[str, Any]:
    if isinstance(waiting, Listed):
        report = waiting.report
        return {
            "form": "item",
            "address": str(waiting.address),
            "since": None if report.since is None else report.since.isoformat(),
            "attempts": report.attempt,
            "reason": report.parked,
            "error": None if report.last_error is None else data_of(report.last_error),
            "command": _command(waiting),
        }
    message = waiting.message
    sent_at = from_ms(message.sent_ms).isoformat()
    return {
        "form": "message",
        "message_id": waiting.message_id,
        "sent_at": sent_at,
        "since": sent_at,
        "sender": str(message.sender),
        "target": str(message.target),
        "action": message.action,
        "deliveries": waiting.deliveries,
        "reason": "deliveries_exhausted",
        "error": data_of(waiting.error),
        "command": _command(waiting),
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
