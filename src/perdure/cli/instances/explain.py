"""``perdure explain``: the effect of a request, without applying it."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from perdure.cli.exit_code import ExitCode
from perdure.cli.instances.difference import difference_lines
from perdure.cli.instances.filters import address_of
from perdure.cli.instances.payload import KeyOption, json_payload
from perdure.cli.json_lines import JsonOption, write_json
from perdure.cli.standard_output import write_lines
from perdure.cli.styled_lines import write_styled_lines
from perdure.cli.target.opening import open_target
from perdure.cli.target.options import UNSET, TargetOptions
from perdure.cli.target.target import Ask
from perdure.jobs.request import ALARM
from perdure.wire.diagnosis import why_no_alarm


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
