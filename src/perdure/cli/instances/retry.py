"""``perdure retry``: run failed work of instances now."""

from __future__ import annotations

from typing import Annotated, Final

from cyclopts import Parameter

from perdure.cli.confirmation import ASK, ConfirmOptions
from perdure.cli.instances.change_many import Change, Selection, change_many
from perdure.cli.instances.filters import ALL, FilterOptions
from perdure.cli.instances.records import instant
from perdure.cli.instances.selection import EveryOption
from perdure.cli.json_lines import JsonOption
from perdure.cli.target.options import UNSET, TargetOptions
from perdure.cli.target.target import Ask, Target
from perdure.values.address import Address
from perdure.values.answer import InstanceStatus

RUN_NOW: Final = {"continuous": "trigger", "task": "trigger", "debounce": "flush"}
"""The request that runs a retrying instance now, by its kind."""


def retry(
    *addresses: Annotated[str, Parameter(name="ADDRESS")],
    target: TargetOptions = UNSET,
    wanted: FilterOptions = ALL,
    every: EveryOption = False,
    confirm: ConfirmOptions = ASK,
    json: JsonOption = False,
) -> int:
    """Run failed work now: of instances that wait for a retry, and of parked ones.

    A parked instance is resumed: its run continues with new attempts. A debounce that waits for a retry is flushed, a
    continuous job or a task triggered: that is a new run, which replaces the failed one. Other instances are left as
    they are. It asks before it retries instances that a filter selects.

    Exit code: 0 done, 2 the command cannot start, 3 some had nothing to retry or failed again, 4 no engine answers, 5
    unknown, 130 you answered no.

    Parameters
    ----------
    addresses
        The instances, each written kind:name:id.
    """
    selection = Selection(addresses=addresses, wanted=wanted, every=every, confirm=confirm)
    return change_many(Change(verb="retry", ask_of=_ask_of), selection, target, json=json)


def _ask_of(target: Target, address: Address) -> Ask | str:
    report = target.status(address)
    action = retrying_action(address.kind, report)
    return why_not_retried(address, report) if action is None else Ask(address=address, action=action)


def retrying_action(kind: str, report: InstanceStatus) -> str | None:
    """Return the action that runs the failed work of an instance now; None if there is none.

    >>> retrying_action("debounce", InstanceStatus(status="retrying"))
    'flush'

    Args:
        kind: the kind of its job.
        report: its status.
    """
    match report:
        case InstanceStatus(status="parked"):
            return None if report.parked == "undecodable" else "resume"
        case InstanceStatus(status="retrying"):
            return RUN_NOW.get(kind)
        case _:
            return None


def why_not_retried(address: Address, report: InstanceStatus) -> str:
    """Return why an instance has nothing to retry, and the command that runs it now.

    >>> from perdure.values.failure import FailureRecord
    >>> failed = FailureRecord(form="failure", error_type="NoStock", message="none left")
    >>> why_not_retried(Address("task", "order", "1"), InstanceStatus(status="idle", last_error=failed))
    "it is idle; its last run failed and is over: to run now, perdure trigger 'task:order:1'"

    Args:
        address: the instance.
        report: its status, for which `retrying_action` is None.
    """
    action = RUN_NOW.get(address.kind)
    match report.status:
        case "parked":
            return "it is parked as undecodable: deploy code that can read it, and it resumes by itself"
        case "retrying":
            return f"the kind {address.kind} has no known request that runs a retry now; see perdure call"
        case "paused":
            return "it is paused: resume it"
        case "not_found":
            return "there is no such instance"
        case "scheduled" | "idle" if report.last_error is not None and action is not None:
            due = f"scheduled for {instant(report.next_run_at)}" if report.next_run_at else "idle"
            return f"it is {due}; its last run failed and is over: to run now, perdure {action} '{address}'"
        case status:
            return f"it is {status}: nothing failed that could be retried"
