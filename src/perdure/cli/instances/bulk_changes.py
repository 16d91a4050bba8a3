"""The commands that change one or many instances.

They are ``perdure pause``, ``resume``, ``retry``, ``cancel``, ``clear`` and ``terminate``. Each command sends the same
request to every selected instance, and asks first where a change cannot be undone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeAlias

import attrs
import orjson
from cyclopts import Parameter

from perdure.cli.instances.presentation import answer_lines, code_of_answer, instant
from perdure.cli.instances.selection import ALL, EveryOption, FilterOptions, selected
from perdure.cli.options import CONFIRM_FIRST, ConfirmOptions, JsonOption, is_confirmed
from perdure.cli.output import progress_bar, write_json
from perdure.cli.process import ExitCode, UsageError, code_of, write_lines
from perdure.cli.target.opening import UNSET, TargetOptions, open_target
from perdure.cli.target.target import InstanceRequest, Target, of_instance
from perdure.kinds.workflow.commands import UnreceivedSignals
from perdure.values.address import Address, Job
from perdure.values.errors import PerdureError
from perdure.values.status import InstanceStatus
from perdure.wire.explanation import readable_answer
from perdure.wire.operations import INFO, STATUS

RequestOf: TypeAlias = Callable[[Target, Address], InstanceRequest | str]
"""Returns the request to an instance, or why it gets none."""

_STOPS: Final = frozenset({ExitCode.UNREACHABLE, ExitCode.UNKNOWN, ExitCode.MISCONFIGURED})


@attrs.frozen(kw_only=True)
class Change:
    """A change to one instance or many.

    Attributes:
        verb: the command, such as ``terminate``.
        ask_of: builds each request.
        is_destructive: whether one instance needs a confirmation as well.
        is_made: whether an instance that a filter selects was made by this change, and is left out.
    """

    verb: str
    ask_of: RequestOf
    is_destructive: bool = False
    is_made: Callable[[Address], bool] = lambda _: False


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class SelectionOptions:
    """The options that select instances, and answer the question about them.

    Attributes:
        wanted: the filter.
        every: whether all instances are selected.
        confirm: the options ``--yes`` and ``--dry-run``.
    """

    wanted: FilterOptions = ALL
    every: EveryOption = False
    confirm: ConfirmOptions = CONFIRM_FIRST


NONE_SELECTED: Final = SelectionOptions()


def change_many(
    change: Change, addresses: tuple[str, ...], selection: SelectionOptions, options: TargetOptions, *, json: bool
) -> ExitCode:
    """Select instances, ask, send a request to each, and print the answers.

    It stops at the first request that no engine answered. A refused request does not stop the others.

    Args:
        change: the request.
        addresses: the instances that the caller named.
        selection: the others, and the answer to the question.
        options: the target.
        json: whether to print JSON lines.

    Returns:
        ``DONE`` if every request was applied, else the greatest exit code.
    """
    with open_target(options) as target:
        chosen = selected(target, addresses, selection.wanted, every=selection.every)
        if not addresses:
            # A repeat of the command would otherwise fork the forks. Addresses that are named are taken as they are.
            chosen = tuple(each for each in chosen if not change.is_made(each))
        if selection.confirm.dry_run:
            _print_dry_run(change.verb, chosen, json=json)
            return ExitCode.DONE
        if not chosen:
            sys.stderr.write("perdure: no instance matches\n")
            return ExitCode.DONE
        target.check_engine()
        is_asked = change.is_destructive or not addresses
        if is_asked and not is_confirmed(_question(change.verb, chosen), selection.confirm):
            sys.stderr.write("perdure: nothing changed\n")
            return ExitCode.INTERRUPTED
        return apply_to(change, target, chosen, json=json)


def apply_to(change: Change, target: Target, chosen: tuple[Address, ...], *, json: bool) -> ExitCode:
    """Change instances one after the other, up to a failure that would meet all. Return the worst exit code.

    Args:
        change: the change.
        target: the engine or the file.
        chosen: the instances, in their order.
        json: whether each result is printed as a line of JSON.
    """
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
    other = {} if asked.address == address else {"into": str(asked.address)}
    return code_of_answer(answer), {"action": asked.action, **other, "answer": answer}


def _print(address: Address, code: ExitCode, result: dict[str, Any], *, json: bool, alone: bool) -> None:
    if json:
        write_json([{"address": str(address), "exit_code": int(code), **result}])
    elif "problem" in result:
        write_lines([f"{address}  {result['problem']}"])
    else:
        answer = readable_answer(address.kind, result["answer"])
        text = ", ".join(f"{name} {value}" for name, value in answer_lines(answer))
        # Among many, only those that failed: the last line counts the others.
        if alone or code is not ExitCode.DONE:
            other = f"into {result['into']}, " if "into" in result else ""
            write_lines([f"{address}  {other}{text}"])


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


def pause(
    *addresses: Annotated[str, Parameter(name="ADDRESS")],
    target: TargetOptions = UNSET,
    selection: SelectionOptions = NONE_SELECTED,
    json: JsonOption = False,
) -> int:
    """Suspend alarms and retries of instances. Events are still handled.

    It asks before it pauses instances that a filter selects.

    Exit code: 0 done, 2 the command cannot start, 3 some were not paused, 4 no engine answers, 5 unknown, 130 you
    answered no.

    Parameters
    ----------
    addresses
        The instances, each written kind:name:id.
    """
    return change_many(Change(verb="pause", ask_of=_request("pause")), addresses, selection, target, json=json)


def resume(
    *addresses: Annotated[str, Parameter(name="ADDRESS")],
    target: TargetOptions = UNSET,
    selection: SelectionOptions = NONE_SELECTED,
    json: JsonOption = False,
) -> int:
    """Resume paused or parked instances. An overdue alarm fires once.

    It asks before it resumes instances that a filter selects.

    Exit code: 0 done, 2 the command cannot start, 3 some were not resumed, 4 no engine answers, 5 unknown, 130 you
    answered no.

    Parameters
    ----------
    addresses
        The instances, each written kind:name:id.
    """
    return change_many(Change(verb="resume", ask_of=_request("resume")), addresses, selection, target, json=json)


def _request(action: str) -> RequestOf:
    return lambda _, address: InstanceRequest(address=address, action=action)


def retry(
    *addresses: Annotated[str, Parameter(name="ADDRESS")],
    target: TargetOptions = UNSET,
    selection: SelectionOptions = NONE_SELECTED,
    json: JsonOption = False,
) -> int:
    """Run failed work now: of instances that wait for a retry, and of parked ones.

    A parked instance is resumed: its run continues with new attempts. A pool item that waits for a retry is queued, a
    debounce flushed, a continuous job or a task triggered: each makes the same run's next attempt. Other instances are
    left as they are. It asks before it retries instances that a filter selects.

    Exit code: 0 done, 2 the command cannot start, 3 some had nothing to retry or failed again, 4 no engine answers, 5
    unknown, 130 you answered no.

    Parameters
    ----------
    addresses
        The instances, each written kind:name:id.
    """
    return change_many(Change(verb="retry", ask_of=_RetryRequest().of), addresses, selection, target, json=json)


@attrs.define
class _RetryRequest:
    """Returns the request to an instance. It asks the engine once for its jobs' actions."""

    _run_now: dict[Job, str | None] | None = None

    def of(self, target: Target, address: Address) -> InstanceRequest | str:
        """Return the request that runs an instance's failed work now, or why there is none."""
        if self._run_now is None:
            self._run_now = {(job.kind, job.name): job.run_now for job in target.perform(INFO).jobs}
        report, run_now = of_instance(target, STATUS, address), self._run_now.get((address.kind, address.name))
        action = retrying_action(run_now, report)
        return (
            why_not_retried(address, run_now, report)
            if action is None
            else InstanceRequest(address=address, action=action)
        )


def retrying_action(run_now: str | None, report: InstanceStatus) -> str | None:
    """Return the action that runs an instance's failed work now. None if there is none.

    >>> retrying_action("flush", InstanceStatus(status="retrying"))
    'flush'

    Args:
        run_now: the action that runs an instance now that waits for a retry, if its kind has one.
        report: its status.
    """
    match report:
        case InstanceStatus(status="parked" | "left"):
            return "resume"
        case InstanceStatus(status="retrying"):
            return run_now
        case _:
            return None


def why_not_retried(address: Address, run_now: str | None, report: InstanceStatus) -> str:
    """Return why an instance has nothing to retry, and the command that runs it now.

    >>> from perdure.values.status import FailureRecord
    >>> failed = FailureRecord(form="failure", error_type="NoStock", message="none left")
    >>> why_not_retried(Address("task", "order", "1"), "trigger", InstanceStatus(status="idle", last_error=failed))
    "it is idle; its last run failed and is over: to run now, perdure trigger 'task:order:1'"

    Args:
        address: the instance.
        run_now: as in `retrying_action`.
        report: its status, for which `retrying_action` is None.
    """
    match report.status:
        case "retrying":
            return f"the kind {address.kind} has no known request that runs a retry now; see perdure call"
        case "paused":
            return "it is paused: resume it"
        case "not_found":
            return "there is no such instance"
        case "queued":
            return "it is queued: it begins when there is room, and nothing failed that could be retried"
        case "scheduled" | "idle" if report.last_error is not None and run_now is not None:
            due = f"scheduled for {instant(report.next_run_at)}" if report.next_run_at else "idle"
            return f"it is {due}; its last run failed and is over: to run now, perdure {run_now} '{address}'"
        case status:
            return f"it is {status}: nothing failed that could be retried"


def cancel(
    *addresses: Annotated[str, Parameter(name="ADDRESS")],
    target: TargetOptions = UNSET,
    selection: SelectionOptions = NONE_SELECTED,
    reason: str = "cancelled",
    interrupt: Annotated[bool, Parameter(negative="")] = False,
    json: JsonOption = False,
) -> int:
    """Cancel workflows, whose compensations then run, and items of pools that wait. It asks first.

    Exit code: 0 done, 2 the command cannot start, 3 some were not cancelled, 4 no engine answers, 5 unknown, 130 you
    answered no.

    Parameters
    ----------
    addresses
        The instances, each written kind:name:id.
    reason
        Part of a workflow's outcome. A pool item is deleted, and takes none.
    interrupt
        Stop a workflow's steps in progress, whose effects may have happened. Otherwise they end first.
    """

    def ask_of(_: Target, address: Address) -> InstanceRequest:
        given = {"reason": reason, "interrupt": True} if interrupt else reason
        # A pool's cancel takes no input.
        payload = "" if address.kind == "pool" else orjson.dumps(given).decode()
        return InstanceRequest(address=address, action="cancel", payload=payload)

    return change_many(
        Change(verb="cancel", ask_of=ask_of, is_destructive=True), addresses, selection, target, json=json
    )


def fork(
    *addresses: Annotated[str, Parameter(name="ADDRESS")],
    target: TargetOptions = UNSET,
    selection: SelectionOptions = NONE_SELECTED,
    step: str | None = None,
    suffix: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-fork",
    into: str | None = None,
    signals: UnreceivedSignals = "keep",
    accept_undone: Annotated[bool, Parameter(negative="")] = False,
    json: JsonOption = False,
) -> int:
    """Begin a new workflow with the steps of each one up to a step. Exactly the steps from that one on run again.

    The others stay as they are. Repeat the command after an interruption: a fork that exists is not begun again, and a
    filter leaves out ids that end with the suffix. It asks before it forks workflows that a filter selects.

    Exit code: 0 done, 2 the command cannot start, 3 some were not forked, 4 no engine answers, 5 unknown, 130 you
    answered no.

    Parameters
    ----------
    addresses
        The workflows, each written kind:name:id.
    step
        The first step that runs again: its path, or its name. By default all that have ended are kept, and a cancelled
        workflow continues where it was cancelled.
    suffix
        Each new id is the old one with this text at its end.
    into
        The new id, for one workflow.
    signals
        Whether the signals that the kept steps have not received wait in the new inbox.
    accept_undone
        Fork although compensations have undone steps that are kept.
    """
    if into is not None and len(addresses) != 1:
        raise UsageError("--into names the fork of one workflow; use --suffix for several")

    def ask_of(_: Target, address: Address) -> InstanceRequest:
        wanted = {"source": address.id, "step": step, "signals": signals, "accept_undone": accept_undone}
        forked = attrs.evolve(address, id=f"{address.id}{suffix}" if into is None else into)
        return InstanceRequest(address=forked, action="fork", payload=orjson.dumps(wanted).decode())

    change = Change(verb="fork", ask_of=ask_of, is_made=lambda address: address.id.endswith(suffix))
    return change_many(change, addresses, selection, target, json=json)


def terminate(
    *addresses: Annotated[str, Parameter(name="ADDRESS")],
    target: TargetOptions = UNSET,
    selection: SelectionOptions = NONE_SELECTED,
    reason: str = "terminated",
    interrupt: Annotated[bool, Parameter(negative="")] = False,
    json: JsonOption = False,
) -> int:
    """Delete instances and their alarms, after a question. Their history stays until retention.

    Exit code: 0 done, 2 the command cannot start, 3 some were not terminated, 4 no engine answers, 5 unknown, 130 you
    answered no.

    Parameters
    ----------
    addresses
        The instances, each written kind:name:id.
    reason
        Recorded in the history.
    interrupt
        Cancel a run in progress. Otherwise the command waits until the run ends.
    """

    def ask_of(_: Target, address: Address) -> InstanceRequest:
        return InstanceRequest(
            address=address, action="terminate", payload=orjson.dumps(reason).decode(), interrupt=interrupt
        )

    return change_many(
        Change(verb="terminate", ask_of=ask_of, is_destructive=True), addresses, selection, target, json=json
    )


def clear(
    *addresses: Annotated[str, Parameter(name="ADDRESS")],
    target: TargetOptions = UNSET,
    selection: SelectionOptions = NONE_SELECTED,
    json: JsonOption = False,
) -> int:
    """Discard the batches of debounces that are not being flushed, after a question.

    Exit code: 0 done, 2 the command cannot start, 3 some had no batch, 4 no engine answers, 5 unknown, 130 you answered
    no.

    Parameters
    ----------
    addresses
        The instances, each written kind:name:id.
    """
    return change_many(
        Change(verb="clear", ask_of=_request("clear"), is_destructive=True), addresses, selection, target, json=json
    )
