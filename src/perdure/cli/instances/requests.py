"""The commands that send one request to one instance, such as ``perdure start``, ``send`` and ``call``."""

from __future__ import annotations

import sys
from typing import Annotated, Final, TypeAlias

import orjson
from cyclopts import Parameter

from perdure.cli.instances.presentation import answer_lines, code_of_answer
from perdure.cli.instances.selection import AddressArgument, address_of
from perdure.cli.options import JsonOption
from perdure.cli.output import write_fields, write_json
from perdure.cli.process import ExitCode, UsageError
from perdure.cli.target.opening import UNSET, TargetOptions, open_target
from perdure.cli.target.target import InstanceRequest
from perdure.jobs.request import WaitFor
from perdure.wire.diagnosis import readable_answer

FROM_STDIN: Final = "-"

KeyOption: TypeAlias = Annotated[
    str | None, Parameter(help="Idempotency key: a repeat with this key changes nothing and prints the first answer.")
]
"""The option ``--key`` of requests."""


def json_payload(text: str) -> str:
    """Return JSON text, read from standard input if the argument is ``-``.

    Raises:
        UsageError: it is not JSON.
    """
    payload = sys.stdin.read() if text == FROM_STDIN else text
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise UsageError(
            f"the input is not JSON: {error}; put it in single quotes, or pass - to read a file"
        ) from error
    return payload.strip()


WaitOption: TypeAlias = Annotated[
    WaitFor, Parameter(help="Return after the first attempt of the run (completion), or when it is claimed (start).")
]


def start(
    address: AddressArgument,
    state: Annotated[str, Parameter(name="STATE")],
    /,
    *,
    target: TargetOptions = UNSET,
    wait_for: WaitOption = "completion",
    key: KeyOption = None,
    json: JsonOption = False,
) -> int:
    """Start a continuous job or a workflow. An existing instance is unchanged.

    Exit code: 0 done, 2 the command cannot start, 3 refused or the run did not succeed, 4 no engine answers, 5 unknown.

    Parameters
    ----------
    state
        Its first state as JSON; - reads standard input.
    """
    asked = InstanceRequest(
        address=address_of(address), action="start", payload=json_payload(state), key=key, wait_for=wait_for
    )
    return request(asked, target, json=json)


def send(
    address: AddressArgument,
    event: Annotated[str, Parameter(name="EVENT")],
    /,
    *,
    target: TargetOptions = UNSET,
    key: KeyOption = None,
    json: JsonOption = False,
) -> int:
    """Send an event to a task. An absent instance is created.

    Exit code: 0 done, 2 the command cannot start, 3 refused, 4 no engine answers, 5 unknown.

    Parameters
    ----------
    event
        The event as JSON; - reads standard input.
    """
    return request(
        InstanceRequest(address=address_of(address), action="send", payload=json_payload(event), key=key),
        target,
        json=json,
    )


def add(
    address: AddressArgument,
    event: Annotated[str, Parameter(name="EVENT")],
    /,
    *,
    target: TargetOptions = UNSET,
    key: KeyOption = None,
    json: JsonOption = False,
) -> int:
    """Add an event to the batch of a debounce. The first one starts it.

    Exit code: 0 done, 2 the command cannot start, 3 refused, 4 no engine answers, 5 unknown.

    Parameters
    ----------
    event
        The event as JSON; - reads standard input.
    """
    return request(
        InstanceRequest(address=address_of(address), action="add", payload=json_payload(event), key=key),
        target,
        json=json,
    )


def put(
    address: AddressArgument,
    item: Annotated[str, Parameter(name="ITEM")],
    /,
    *,
    target: TargetOptions = UNSET,
    after: str | None = None,
    head_start: str | None = None,
    key: KeyOption = None,
    json: JsonOption = False,
) -> int:
    """Put an item into a worker pool. An existing one is unchanged.

    Exit code: 0 done, 2 the command cannot start, 3 refused, 4 no engine answers, 5 unknown.

    Parameters
    ----------
    item
        The item as JSON; - reads standard input.
    after
        Not before this long from now, such as 10 minutes.
    head_start
        Its place in line is that of an item which was put this much earlier.
    """
    options = {name: value for name, value in (("after", after), ("head_start", head_start)) if value is not None}
    payload = orjson.dumps({"item": orjson.Fragment(json_payload(item)), **options}).decode()
    return request(
        InstanceRequest(address=address_of(address), action="put", payload=payload, key=key), target, json=json
    )


def signal(
    address: AddressArgument,
    name: Annotated[str, Parameter(name="SIGNAL")],
    value: Annotated[str, Parameter(name="VALUE")],
    /,
    *,
    target: TargetOptions = UNSET,
    key: KeyOption = None,
    json: JsonOption = False,
) -> int:
    """Send a signal to a workflow. It is stored until the program receives it.

    Exit code: 0 done, 2 the command cannot start, 3 refused, or the workflow is absent or has ended, 4 no engine
    answers, 5 unknown.

    Parameters
    ----------
    name
        The name of the signal.
    value
        Its value as JSON; - reads standard input.
    """
    asked = InstanceRequest(address=address_of(address), action=f"signal.{name}", payload=json_payload(value), key=key)
    return request(asked, target, json=json)


def trigger(
    address: AddressArgument,
    /,
    *,
    new_run: Annotated[bool, Parameter(negative="")] = False,
    target: TargetOptions = UNSET,
    wait_for: WaitOption = "completion",
    key: KeyOption = None,
    json: JsonOption = False,
) -> int:
    """Run a continuous job or a task now.

    If its last run failed, this is the next attempt of that run.

    Exit code: 0 done, 2 the command cannot start, 3 there is no instance or the run did not succeed, 4 no engine
    answers, 5 unknown.

    Parameters
    ----------
    new_run
        Abandon a failed run, and run under a new run id: external systems perform its effects again.
    """
    payload = '{"new_run":true}' if new_run else ""
    asked = InstanceRequest(address=address_of(address), action="trigger", payload=payload, key=key, wait_for=wait_for)
    return request(asked, target, json=json)


def flush(
    address: AddressArgument,
    /,
    *,
    target: TargetOptions = UNSET,
    wait_for: WaitOption = "completion",
    key: KeyOption = None,
    json: JsonOption = False,
) -> int:
    """Flush the batch of a debounce now.

    Exit code: 0 done, 2 the command cannot start, 3 there is no batch or the run did not succeed, 4 no engine answers,
    5 unknown.
    """
    return request(
        InstanceRequest(address=address_of(address), action="flush", key=key, wait_for=wait_for), target, json=json
    )


def call(
    address: AddressArgument,
    action: Annotated[str, Parameter(name="ACTION")],
    payload: Annotated[str | None, Parameter(name="PAYLOAD")] = None,
    /,
    *,
    target: TargetOptions = UNSET,
    wait_for: WaitOption = "completion",
    key: KeyOption = None,
    json: JsonOption = False,
) -> int:
    """Send any request, also to a kind of job of your own. It asks for no confirmation.

    Exit code: 0 done, 2 the command cannot start, 3 refused or the run did not succeed, 4 no engine answers, 5 unknown.

    Parameters
    ----------
    action
        The action; perdure jobs lists those of each job.
    payload
        Its input as JSON, if it takes one; - reads standard input.
    """
    text = "" if payload is None else json_payload(payload)
    asked = InstanceRequest(address=address_of(address), action=action, payload=text, key=key, wait_for=wait_for)
    return request(asked, target, json=json)


def request(asked: InstanceRequest, options: TargetOptions, *, json: bool) -> ExitCode:
    """Send a request and print its answer."""
    with open_target(options) as target:
        answer = target.call(asked)
    if json:
        write_json([answer])
    else:
        write_fields(list(answer_lines(readable_answer(asked.address.kind, answer))))
    return code_of_answer(answer)
