"""``perdure retry``: run failed work of instances now."""

from __future__ import annotations

from typing import Annotated

import attrs
from cyclopts import Parameter

from perdure.cli.confirmation import ASK, ConfirmOptions
from perdure.cli.instances.change_many import Change, Selection, change_many
from perdure.cli.instances.filters import ALL, FilterOptions
from perdure.cli.instances.records import instant
from perdure.cli.instances.selection import EveryOption
from perdure.cli.json_lines import JsonOption
from perdure.cli.target.options import UNSET, TargetOptions
from perdure.cli.target.target import Ask, Target
from perdure.values.address import Address, Job
from perdure.values.status import InstanceStatus


def retry(
    *addresses: Annotated[str, Parameter(name="ADDRESS")],
    target: TargetOptions = UNSET,
    wanted: FilterOptions = ALL,
    every: EveryOption = False,
    confirm: ConfirmOptions = ASK,
    json: JsonOption = False,
) -> int:
    """Run failed work now: of instances that wait for a retry, and of parked ones.

    A parked instance is resumed: its run continues with new attempts. An item of a pool that waits for a retry is
    queued, a debounce flushed, a continuous job or a task triggered: each is the next attempt of the same run. Other
    instances are left as they are. It asks before it retries instances that a filter selects.

    Exit code: 0 done, 2 the command cannot start, 3 some had nothing to retry or failed again, 4 no engine answers, 5
    unknown, 130 you answered no.

    Parameters
    ----------
    addresses
        The instances, each written kind:name:id.
    """
    selection = Selection(addresses=addresses, wanted=wanted, every=every, confirm=confirm)
    return change_many(Change(verb="retry", ask_of=_RetryAsk().of), selection, target, json=json)


@attrs.define
class _RetryAsk:
    """Returns the request to an instance. It asks the engine once for the actions of its jobs."""

    _run_now: dict[Job, str | None] | None = None

    def of(self, target: Target, address: Address) -> Ask | str:
        """Return the request that runs the failed work of an instance now, or why there is none."""
        if self._run_now is None:
            self._run_now = {(job.kind, job.name): job.run_now for job in target.info().jobs}
        report, run_now = target.status(address), self._run_now.get((address.kind, address.name))
        action = retrying_action(run_now, report)
        return why_not_retried(address, run_now, report) if action is None else Ask(address=address, action=action)


def retrying_action(run_now: str | None, report: InstanceStatus) -> str | None:
    """Return the action that runs the failed work of an instance now; None if there is none.

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

    >>> from perdure.values.failure import FailureRecord
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
        case "scheduled" | "idle" if report.last_error is not None and run_now is not None:
            due = f"scheduled for {instant(report.next_run_at)}" if report.next_run_at else "idle"
            return f"it is {due}; its last run failed and is over: to run now, perdure {run_now} '{address}'"
        case status:
            return f"it is {status}: nothing failed that could be retried"
