"""The commands that read instances: ``perdure list``, ``show``, ``history``, ``steps``, ``tail`` and ``wait``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, TypeAlias, assert_never

import orjson
from cyclopts import Parameter

from perdure.cli.instances.presentation import (
    error_text,
    instant,
    list_table,
    listed_data,
    remedies,
    shown_name,
    status_data,
    status_text,
    value_text,
)
from perdure.cli.instances.selection import (
    ALL,
    INCOMPLETE,
    AddressArgument,
    FilterOptions,
    address_of,
    list_filter,
    pages,
)
from perdure.cli.options import JsonOption
from perdure.cli.output import Table, write_fields, write_json, write_table
from perdure.cli.process import ExitCode, UsageError, write_lines
from perdure.cli.target.opening import NO_PLACE, UNSET, PlaceOptions, TargetOptions, open_target
from perdure.cli.target.target import Target, of_instance
from perdure.stores.values import LoggedEvent
from perdure.values.address import Address
from perdure.values.errors import (
    InvalidInput,
    Undecodable,
    UnknownAction,
)
from perdure.values.excerpt import one_line, shortened
from perdure.values.listings import InstanceOutcome, Listed, StepRecord
from perdure.values.status import InstanceStatus, Status
from perdure.values.status_wait import Awaited, NeverStored, NotReached, Reached
from perdure.values.stream import StreamItem
from perdure.values.times import format_duration, from_ms
from perdure.wire.explanation import why_parked
from perdure.wire.operations import HISTORY, STATUS, STEPS
from perdure.wire.records import awaited_json, data_of


def list_instances(
    *,
    target: TargetOptions = UNSET,
    wanted: FilterOptions = ALL,
    after: str | None = None,
    limit: int = 100,
    all_: Annotated[bool, Parameter(name="--all", negative="")] = False,
    json: JsonOption = False,
) -> int:
    """List instances, in the order of their addresses. It prints no states.

    A store at rest has no orphaned instances: only an engine knows the jobs that it serves.

    Exit code: 0 done, also if no instance matches. 2 the command cannot start. 4 no engine answers.

    Parameters
    ----------
    after
        The previous page's last address.
    limit
        Print at most this many instances.
    all_
        Print every instance that matches.
    """
    if limit < 1:
        raise UsageError(f"--limit {limit}: expected a number from 1")
    begin = None if after is None else address_of(after)
    left, last, told = limit, None, dict[str, None]()
    columns: tuple[str, ...] = ()
    gaps: list[str] = []
    with open_target(target) as found:
        listed = list_filter(wanted, after=begin)
        # One more than asked for: it shows whether there are others.
        for page in pages(found, listed, None if all_ else limit + 1, lambda: gaps.append(INCOMPLETE)):
            shown = page if all_ else page[:left]
            if shown:
                columns = _write(shown, columns, json=json)
                left, last = left - len(shown), shown[-1].address
                told.update(dict.fromkeys(remedies(shown)))
            if len(shown) < len(page):
                sys.stderr.write(f"perdure: more instances match; pass --all, or --after '{one_line(str(last))}'\n")
    for remedy in () if json else told:
        sys.stderr.write(f"perdure: {one_line(remedy)}\n")
    if last is None:
        sys.stderr.write("perdure: no instance matches\n")
    for gap in gaps[:1]:
        sys.stderr.write(f"perdure: {gap}\n")
    return ExitCode.DONE


def _write(page: tuple[Listed, ...], above: tuple[str, ...], *, json: bool) -> tuple[str, ...]:
    """Write a page, with its headings if they differ from those above. Return its headings."""
    if json:
        write_json(listed_data(each) for each in page)
        return above
    table = list_table(page)
    write_table(table, heading=table.columns != above)
    return table.columns


MAX_OUTCOME_CHARACTERS: Final = 80

KINDS_WITHOUT_STEPS: Final = frozenset({"batch", "continuous", "debounce", "pool", "task"})
"""This library's kinds that keep no journal. Your own kind may keep one."""


def steps(
    address: Annotated[str, Parameter(name="ADDRESS")],
    /,
    *,
    target: TargetOptions = UNSET,
    json: JsonOption = False,
) -> int:
    """Show the steps of one workflow: their times, attempts and outcomes, and the steps that it waits for.

    Exit code: 0 done, also if it has no steps. 2 the command cannot start. 3 there is no such instance. 4 no engine
    answers.

    Parameters
    ----------
    address
        The instance, written kind:name:id.
    """
    at = address_of(address)
    with open_target(target) as found:
        listed = of_instance(found, STEPS, at)
        # A workflow without steps and an absent one list the same.
        is_known = bool(listed) or of_instance(found, STATUS, at).status != "not_found"
    if json:
        write_json(data_of(step) for step in listed)
    elif listed:
        columns = ("STEP", "NAME", "STATUS", "TIME", "TOOK", "ATTEMPTS", "OUTCOME")
        write_table(Table(columns, tuple(map(_step_row, listed)), frozenset({"OUTCOME"})))
    else:
        write_lines([_no_steps(at) if is_known else f"there is no instance {at}"])
    return ExitCode.DONE if is_known else ExitCode.REFUSED


def _no_steps(at: Address) -> str:
    if at.kind in KINDS_WITHOUT_STEPS:
        return f"{at} has no steps: only workflows have them; `perdure history {at}` shows its runs"
    return f"{at} has no steps yet"


def _step_row(step: StepRecord) -> tuple[str, ...]:
    took = "" if step.began_ms is None or step.at_ms is None else format_duration(max(0, step.at_ms - step.began_ms))
    outcome = error_text(step.error, MAX_OUTCOME_CHARACTERS) if step.error is not None else step.value or ""
    return (
        step.path,
        step.name,
        step.status,
        "" if step.at_ms is None else instant(from_ms(step.at_ms)),
        took,
        str(step.attempts or ""),
        shortened(outcome, MAX_OUTCOME_CHARACTERS),
    )


TAIL_WAIT_MS: Final = 20_000
"""How long one request of `tail` waits for the next item."""


def tail(
    address: AddressArgument,
    stream: Annotated[str, Parameter(name="STREAM")],
    /,
    *,
    target: TargetOptions = UNSET,
    after: int = -1,
    follow: bool = True,
    json: JsonOption = False,
) -> int:
    """Print the chunks of a stream, from an offset on, until the instance has ended.

    It waits for an instance that does not exist yet. Each line begins with the offset and the step.

    Exit code: 0 done, 2 the command cannot start, 3 its job has no such stream, or with --no-follow there is no such
    instance, 4 no engine answers.

    Parameters
    ----------
    stream
        The stream's name.
    after
        The offset of the last item that you have.
    follow
        Wait for further items until the instance has ended. With --no-follow, print those that there are.
    """
    at = address_of(address)
    with open_target(target) as found:
        while True:
            page = found.stream_page(at, stream, after, TAIL_WAIT_MS if follow else 0)
            if json:
                write_json(map(_item_data, page.items))
            else:
                write_lines(map(_item_line, page.items))
            # A pipe would otherwise hold the chunks back until its buffer is full.
            sys.stdout.flush()
            after = page.after
            if page.state == "end" or not (follow or page.items):
                break
    if page.state != "absent":
        return ExitCode.DONE
    sys.stderr.write(f"perdure: there is no instance {one_line(str(at))}\n")
    return ExitCode.REFUSED


def _item_data(item: StreamItem) -> dict[str, Any]:
    data: dict[str, Any] = {"form": item.form, "offset": item.offset}
    if item.form == "dropped":
        return data | {"count": item.count}
    return data | {"step": item.step} | ({"value": orjson.loads(item.value)} if item.form == "chunk" else {})


def _item_line(item: StreamItem) -> str:
    """Print an item in one line.

    >>> _item_line(StreamItem(form="chunk", offset=7, step="1 say", value='"a word"'))
    '7  1 say  "a word"'
    >>> _item_line(StreamItem(form="dropped", offset=6, count=5))
    '6  (5 older items are dropped)'
    """
    texts = {
        "chunk": item.value,
        "again": "(begins again: discard its chunks so far)",
        "dropped": f"({item.count} older items are dropped)",
    }
    return "  ".join(filter(None, (str(item.offset), item.step, texts[item.form])))


MAX_ERROR_CHARACTERS = 1_000
RECENT = 20
"""The newest events in which `show` looks up why an instance is parked."""


def show(
    address: Annotated[str, Parameter(name="ADDRESS")],
    /,
    *,
    target: TargetOptions = UNSET,
    state: bool | None = None,
    traceback: Annotated[bool, Parameter(negative="")] = False,
    json: JsonOption = False,
) -> int:
    """Show one instance: its status, the steps that it waits for, how it ended, its last error and its state.

    Exit code: 0 done, also if the state is not readable. 2 the command cannot start. 3 there is no such instance. 4 no
    engine answers.

    Parameters
    ----------
    address
        The instance, written kind:name:id.
    state
        Print the state. By default a running engine prints it, without the values that its job marks as secret, and so
        does a store at rest with --app. Without --app no marks are known: there --state prints the state as it is
        stored.
    traceback
        Print the last error's traceback.
    """
    at = address_of(address)
    with open_target(target) as found:
        report = of_instance(found, STATUS, at)
        is_there = report.status != "not_found"
        shows = found.hides_secrets if state is None else state
        content, unreadable = _state(found, at) if shows and is_there else (None, "")
        parked = _why(found, at, report)
        steps = _steps(found, at) if is_there and not json else ()
        outcome = _outcome(found, at, report) if shows else None
    if json:
        reason = {"because": parked} if parked else {}
        ended = {} if outcome is None else {"outcome": outcome_data(outcome)}
        write_json([status_data(at, report) | reason | ended | ({"state": content} if shows else {})])
    elif is_there:
        write_fields(_fields(at, report, parked, steps, outcome))
        if traceback and report.last_error is not None and report.last_error.traceback:
            write_lines(["", *report.last_error.traceback.rstrip().split("\n")])
        if shows and not unreadable:
            write_lines(["", *state_lines(content)])
    else:
        write_lines([f"there is no instance {at}"])
    if unreadable:
        sys.stderr.write(f"perdure: state: not readable: {one_line(unreadable)}\n")
    elif is_there and state is None and not shows:
        sys.stderr.write("perdure: state not shown: pass --app MODULE:APP, or --state to print it as stored\n")
    return ExitCode.DONE if is_there else ExitCode.REFUSED


def _why(target: Target, at: Address, report: InstanceStatus) -> str:
    """Return why an instance is parked or left."""
    if report.left is not None:
        return report.left.message
    return why_parked(_history(target, at, None, RECENT)) if report.parked is not None else ""


def _history(target: Target, at: Address, before: int | None, limit: int) -> tuple[LoggedEvent, ...]:
    return of_instance(target, HISTORY, at, before=before, limit=limit)


def _state(target: Target, at: Address) -> tuple[object, str]:
    """Return the state, or why the engine's code cannot read it."""
    try:
        return target.state(at), ""
    except (Undecodable, InvalidInput) as error:
        return None, str(error)


def state_lines(state: object) -> list[str]:
    """Print a state as indented JSON."""
    if state is None:
        return ["no state"]
    return orjson.dumps(state, option=orjson.OPT_INDENT_2).decode().split("\n")


def _steps(target: Target, at: Address) -> tuple[StepRecord, ...]:
    """Return an instance's steps. Empty if its kind has none, or if only its app's code can read them."""
    if at.kind in KINDS_WITHOUT_STEPS or not target.hides_secrets:
        return ()
    try:
        return of_instance(target, STEPS, at)
    except (Undecodable, InvalidInput, UsageError):
        return ()


def _outcome(target: Target, at: Address, report: InstanceStatus) -> InstanceOutcome | None:
    """Return how an instance ended. None if it has not, or if the engine or the app's code cannot read that."""
    if report.status not in ("done", "parked") and report.phase is None:
        return None
    try:
        return target.outcome(at)
    except (Undecodable, InvalidInput, UnknownAction):  # the last one: an older engine
        return None


def outcome_data(outcome: InstanceOutcome) -> dict[str, Any]:
    """Return an outcome as JSON-able data.

    >>> outcome_data(InstanceOutcome(form="done", value="[3]"))
    {'form': 'done', 'value': [3]}
    """
    value = {} if outcome.value is None else {"value": orjson.loads(outcome.value)}
    error = {} if outcome.error is None else {"error": data_of(outcome.error)}
    return {"form": outcome.form} | value | error | ({} if outcome.reason is None else {"reason": outcome.reason})


def outcome_text(outcome: InstanceOutcome | None) -> str:
    """Print a successful instance's value, or why it was cancelled. A failed one's error is its last error.

    >>> outcome_text(InstanceOutcome(form="done", value='{"cents":5}'))
    '{"cents":5}'
    >>> outcome_text(InstanceOutcome(form="cancelled", reason="changed her mind"))
    'cancelled: changed her mind'
    """
    if outcome is None:
        return ""
    return f"{outcome.form}: {outcome.reason}" if outcome.reason else outcome.value or ""


def _fields(
    at: Address,
    report: InstanceStatus,
    parked: str,
    steps: Sequence[StepRecord],
    outcome: InstanceOutcome | None,
) -> list[tuple[str, str]]:
    waits = [f"{step.name}{_until(step)}" for step in steps if step.status == "waiting"]
    failing = [f"{step.name}, attempt {step.attempts}" for step in steps if step.status in {"retrying", "parked"}]
    recorded = sum(step.attempts > 0 and step.status not in {"retrying", "parked"} for step in steps)
    fields = [
        ("address", str(at)),
        ("status", status_text(report.status, report)),
        (f"{report.status} because", shortened(parked, MAX_ERROR_CHARACTERS)),
        (f"{report.status} since", instant(report.since)),
        ("to fix it", report.heals),
        ("parent", report.parent or ""),
        ("deadline", instant(report.deadline_at)),
        ("outcome", shortened(outcome_text(outcome), MAX_ERROR_CHARACTERS)),
        ("next run", instant(report.next_run_at)),
        ("steps", f"{recorded} recorded" if steps else ""),
        ("waits for", ", ".join(waits)),
        ("failing step", ", ".join(failing)),
        ("attempt", str(report.attempt) if report.attempt > 1 else ""),
        ("runs", str(report.run_count)),
        ("events", str(report.event_count)),
        ("last run", f"{report.last_run}, {instant(report.last_run_at)}" if report.last_run else ""),
        ("batch started", instant(report.started_at)),
        ("batch flushes", instant(report.will_flush_at)),
        ("created", instant(report.created_at)),
        ("updated", instant(report.updated_at)),
        ("last error", error_text(report.last_error, MAX_ERROR_CHARACTERS)),
    ]
    return [(name, value) for name, value in fields if value]


def _until(step: StepRecord) -> str:
    return "" if step.at_ms is None else f" until {instant(from_ms(step.at_ms))}"


MAX_LIMIT: Final = 1_000
MAX_DETAIL_CHARACTERS: Final = 100


def history(
    address: Annotated[str, Parameter(name="ADDRESS")],
    /,
    *,
    target: TargetOptions = UNSET,
    before: int | None = None,
    limit: int = 50,
    json: JsonOption = False,
) -> int:
    """Show the newest events of one instance, the newest first. They survive the instance until retention.

    Exit code: 0 done, also if an instance has no events. 2 the command cannot start. 3 there is no such instance and it
    has no event. 4 no engine answers.

    Parameters
    ----------
    address
        The instance, written kind:name:id.
    before
        The sequence number of the previous page's last event.
    limit
        Print at most this many events, 1 to 1,000.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise UsageError(f"--limit {limit}: expected a number from 1 to {MAX_LIMIT}")
    at = address_of(address)
    with open_target(target) as found:
        events = _history(found, at, before, limit)
        # Events outlive their instance, and an instance may have lost all of its own to retention.
        is_known = bool(events) or before is not None or of_instance(found, STATUS, at).status != "not_found"
    if json:
        write_json(data_of(event) for event in events)
    elif events:
        rows = tuple(_event_row(event) for event in events)
        write_table(Table(("SEQUENCE", "TIME", "EVENT", "RUN", "DETAIL"), rows, frozenset({"DETAIL"})))
    elif not is_known:
        write_lines([f"there is no instance {at}, and it has no events"])
    else:
        write_lines([f"{at} has no events" + ("" if before is None else f" before {before}")])
    if len(events) == limit:
        sys.stderr.write(f"perdure: there may be more events; pass --before {events[-1].sequence}\n")
    return ExitCode.DONE if is_known else ExitCode.REFUSED


_HEADER: Final = frozenset({"event_id", "at_ms", "address", "run_count"})


def _event_row(logged: LoggedEvent) -> tuple[str, ...]:
    data: dict[str, Any] = data_of(logged)
    fields: dict[str, Any] = data.get("fields", {})
    details = [f"{shown_name(name)}={value_text(name, value)}" for name, value in fields.items() if name not in _HEADER]
    text = ", ".join(detail for detail in details if not detail.endswith("=")) or data.get("unread", "")
    return (
        str(logged.sequence),
        instant(logged.event.at),
        logged.event.type,
        str(fields.get("run_count") or ""),
        shortened(text, MAX_DETAIL_CHARACTERS),
    )


AwaitedWord: TypeAlias = Literal["ended", "not_found", Status]
"""The words in `AwaitedStatus` as one literal, which a message about another word lists."""


def wait(
    address: AddressArgument,
    /,
    *,
    target: PlaceOptions = NO_PLACE,
    until: Annotated[tuple[AwaitedWord, ...], Parameter(consume_multiple=False, negative="")] = (),
    phase: Annotated[tuple[str, ...], Parameter(consume_multiple=False, negative="")] = (),
    timeout: str = "1 hour",
    json: JsonOption = False,
) -> int:
    """Wait until one instance ends, or has a status. It does not poll.

    Exit code: 0 it has. 1 not in time. 2 the command cannot start. 3 an end is wanted, and there has been no such
    instance. 4 no engine answers.

    Parameters
    ----------
    until
        The status to wait for, by default ended. Repeat it to accept several.
    phase
        How a workflow ended: done, failed or cancelled. Or a phase that your own kind reports. Repeatable as well.
    timeout
        How long to wait, such as 30 seconds.
    """
    at = address_of(address)
    with open_target(target) as found:
        answer = found.until(at, until, phase, timeout)
    if json:
        write_json([orjson.loads(awaited_json(answer))])
    else:
        write_lines([_awaited_line(at, answer)])
    return _awaited_code(answer)


def _awaited_line(at: Address, answer: Awaited) -> str:
    match answer:
        case Reached(status) | NotReached(status):
            return f"{at} is {status_text(status.status.replace('_', ' '), status)}"
        case NeverStored():
            return f"there has been no instance {at}"
        case _:
            assert_never(answer)


def _awaited_code(answer: Awaited) -> ExitCode:
    match answer:
        case Reached():
            return ExitCode.DONE
        case NotReached():
            return ExitCode.FAILED
        case NeverStored():
            return ExitCode.REFUSED
        case _:
            assert_never(answer)
