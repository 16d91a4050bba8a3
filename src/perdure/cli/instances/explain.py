"""``perdure explain``: the effect of a request, without applying it."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from perdure.cli.exit_code import ExitCode
from perdure.cli.instances.difference import difference_lines
from perdure.cli.instances.filters import address_of
from perdure.cli.instances.payload import KeyOption, json_payload
from perdure.cli.instances.records import instant
from perdure.cli.json_lines import JsonOption, write_json
from perdure.cli.standard_output import write_lines
from perdure.cli.styled_lines import write_styled_lines
from perdure.cli.target.opening import open_target
from perdure.cli.target.options import UNSET, TargetOptions
from perdure.cli.target.target import Ask
from perdure.jobs.request import ALARM
from perdure.values.instant import from_ms


def explain(
    address: Annotated[str, Parameter(name="ADDRESS")],
    action: Annotated[str, Parameter(name="ACTION")] = "alarm",
    payload: Annotated[str | None, Parameter(name="PAYLOAD")] = None,
    /,
    *,
    target: TargetOptions = UNSET,
    key: KeyOption = None,
    json: JsonOption = False,
) -> int:
    """Show the effect of a request without applying it: changes of the instance, messages, events, the answer.

    The engine runs the job's own code on the committed state, up to the first call of a service. Nothing is written.

    Exit code: 0 done, 2 the command cannot start, 3 the request would be refused, 4 no engine answers.

    Parameters
    ----------
    address
        The instance, written kind:name:id.
    action
        Such as send or pause; alarm is its alarm, if it is due.
    payload
        The input as JSON, if the action takes one; - reads standard input.
    """
    text = "" if payload is None else json_payload(payload)
    asked = Ask(address=address_of(address), action=action, payload=text, key=key)
    with open_target(target) as found:
        explanation = found.explain(asked)
    if json:
        write_json([explanation])
    else:
        write_styled_lines(difference_lines(explanation))
        if action == ALARM.action and explanation.get("write") == "keep":
            write_lines([why_no_alarm(explanation["before"])])
    return ExitCode.REFUSED if "problem" in explanation else ExitCode.DONE


def why_no_alarm(instance: dict[str, Any] | None) -> str:
    """Return why the alarm of an instance does nothing now.

    >>> why_no_alarm({"status": "scheduled", "alarm_ms": 1_767_225_600_000})
    'its alarm is not due until 2026-01-01T00:00:00Z'
    >>> why_no_alarm({"status": "idle", "alarm_ms": None})
    'it is idle: no alarm is set'

    Args:
        instance: JSON-able data of `perdure.wire.explanation`; None if there is none.
    """
    match instance:
        case None:
            return "there is no such instance"
        case {"status": "scheduled", "alarm_ms": int(at_ms)}:
            return f"its alarm is not due until {instant(from_ms(at_ms))}"
        case {"status": "retrying", "pending_retry": {"at_ms": int(at_ms)}}:
            return f"its retry is not due until {instant(from_ms(at_ms))}"
        case {"status": "idle"}:
            return "it is idle: no alarm is set"
        case {"status": status}:
            return f"it is {status}: no alarm fires"
        case _:
            return "no alarm is due"
