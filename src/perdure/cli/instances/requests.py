"""The commands that send one request to one instance, such as ``perdure start``, ``send`` and ``call``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, TypeAlias

import orjson
from cyclopts import Parameter
from returns.result import Failure, Result

from perdure.cli.instances.presentation import (
    answer_lines,
    code_of_answer,
    error_text,
    status_text,
)
from perdure.cli.instances.reading import outcome_data, outcome_text
from perdure.cli.instances.selection import AddressArgument, address_of, settled_by
from perdure.cli.options import JsonOption
from perdure.cli.output import write_fields, write_json
from perdure.cli.process import ExitCode, UsageError, code_of, write_lines
from perdure.cli.target.opening import UNSET, TargetOptions, open_target
from perdure.cli.target.target import InstanceRequest
from perdure.client.gateway import MAX_TOGETHER
from perdure.jobs.request import WaitFor
from perdure.values.excerpt import shortened
from perdure.values.status_wait import UpdateReply
from perdure.wire.explanation import readable_answer
from perdure.wire.operations import FORGET_KEY
from perdure.wire.records import data_of

FROM_STDIN: Final = "-"


def input_argument(name: str) -> Parameter:
    """Return the parameter of JSON text or ``-``. Without the permission, ``-`` would be an unknown option."""
    return Parameter(name=name, allow_leading_hyphen=True)


KeyOption: TypeAlias = Annotated[
    str | None, Parameter(help="Idempotency key: a repeat with this key changes nothing and prints the first answer.")
]
"""The option ``--key`` for requests."""


def json_payload(text: str) -> str:
    """Return JSON text, read from standard input if the argument is ``-``.

    Raises:
        UsageError: it is not JSON.
    """
    if text.startswith("--"):
        raise UsageError(f"unknown option {text}; perdure COMMAND --help lists the options")
    payload = sys.stdin.read() if text == FROM_STDIN else text
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        reason = f"the input is not JSON: {error}; put it in single quotes, or pass - to read a file"
        raise UsageError(reason) from error
    return payload.strip()


WaitOption: TypeAlias = Annotated[
    WaitFor, Parameter(help="Return after the first attempt of the run (completion), or when it is claimed (start).")
]

EndOption: TypeAlias = Annotated[
    str | None,
    Parameter(
        help="Wait this long until the work is over, such as `1 hour`, and print the outcome. Needs `--key` "
        "where a repeat would apply the request again."
    ),
]


def start(
    address: AddressArgument,
    state: Annotated[str, input_argument("STATE")],
    /,
    *,
    target: TargetOptions = UNSET,
    wait_for: WaitOption = "completion",
    after: str | None = None,
    within: str | None = None,
    key: KeyOption = None,
    wait: EndOption = None,
    json: JsonOption = False,
) -> int:
    """Start a continuous job or a workflow. An existing instance is unchanged.

    Exit code: 0 done, 1 not over in the time of --wait, 2 the command cannot start, 3 refused, or the run did not
    succeed, 4 no engine answers, 5 unknown.

    Parameters
    ----------
    state
        Its first state as JSON, or - to read standard input.
    after
        A workflow begins this long from now, such as 10 minutes.
    within
        A workflow that has not ended this long after its beginning is cancelled.
    """
    payload, times = json_payload(state), {"after": after, "within": within}
    options = {name: value for name, value in times.items() if value is not None}
    if options:
        payload = orjson.dumps({"state": orjson.Fragment(payload), **options}).decode()
    action = "start_timed" if options else "start"
    asked = InstanceRequest(address=address_of(address), action=action, payload=payload, key=key, wait_for=wait_for)
    return request(asked, target, json=json, wait=wait)


def send(
    address: AddressArgument,
    event: Annotated[str, input_argument("EVENT")],
    /,
    *,
    target: TargetOptions = UNSET,
    key: KeyOption = None,
    wait: EndOption = None,
    json: JsonOption = False,
) -> int:
    """Send an event to a task. An absent instance is created.

    Exit code: 0 done, 1 not over in the time of --wait, 2 the command cannot start, 3 refused, 4 no engine answers, 5
    unknown.

    Parameters
    ----------
    event
        The event as JSON, or - to read standard input.
    """
    return request(
        InstanceRequest(address=address_of(address), action="send", payload=json_payload(event), key=key),
        target,
        json=json,
        wait=wait,
    )


def add(
    address: AddressArgument,
    event: Annotated[str, input_argument("EVENT")],
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
        The event as JSON, or - to read standard input.
    """
    return request(
        InstanceRequest(address=address_of(address), action="add", payload=json_payload(event), key=key),
        target,
        json=json,
    )


def put(
    address: AddressArgument,
    item: Annotated[str, input_argument("ITEM")],
    /,
    *,
    target: TargetOptions = UNSET,
    after: str | None = None,
    head_start: str | None = None,
    key: KeyOption = None,
    wait: EndOption = None,
    json: JsonOption = False,
) -> int:
    """Put an item into a worker pool. An existing one is unchanged.

    Exit code: 0 done, 1 not over in the time of --wait, 2 the command cannot start, 3 refused, 4 no engine answers, 5
    unknown.

    Parameters
    ----------
    item
        The item as JSON, or - to read standard input.
    after
        Not before this long from now, such as 10 minutes.
    head_start
        Rank the item as if it had been put this much earlier.
    """
    options = {name: value for name, value in (("after", after), ("head_start", head_start)) if value is not None}
    payload = orjson.dumps({"item": orjson.Fragment(json_payload(item)), **options}).decode()
    asked = InstanceRequest(address=address_of(address), action="put", payload=payload, key=key)
    return request(asked, target, json=json, wait=wait)


def signal(
    address: AddressArgument,
    name: Annotated[str, Parameter(name="SIGNAL")],
    value: Annotated[str, input_argument("VALUE")],
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
        The signal's name.
    value
        Its value as JSON, or - to read standard input.
    """
    asked = InstanceRequest(address=address_of(address), action=f"signal.{name}", payload=json_payload(value), key=key)
    return request(asked, target, json=json)


def complete(
    promise: Annotated[str, Parameter(name="PROMISE")],
    value: Annotated[str, input_argument("VALUE")],
    /,
    *,
    failed: Annotated[bool, Parameter(negative="", help="Fail the promise with this typed error.")] = False,
    target: TargetOptions = UNSET,
    key: KeyOption = None,
    json: JsonOption = False,
) -> int:
    """Complete a promise that a workflow waits for, unless it is settled, and print its outcome.

    Exit code: 0 done, 2 the command cannot start, 3 refused, or settled before, or the workflow is absent or has ended,
    4 no engine answers, 5 unknown.

    Parameters
    ----------
    promise
        The promise's id, such as workflow:orders:7/payment.
    value
        Its value as JSON, or - to read standard input.
    """
    address, name = settled_by(promise)
    action = f"fail.{name}" if failed else f"complete.{name}"
    return request(
        InstanceRequest(address=address, action=action, payload=json_payload(value), key=key), target, json=json
    )


def update(
    address: AddressArgument,
    name: Annotated[str, Parameter(name="UPDATE")],
    value: Annotated[str, input_argument("VALUE")],
    /,
    *,
    key: Annotated[str, Parameter(help="Idempotency key: a repeat with this key prints the same reply.")],
    target: TargetOptions = UNSET,
    wait: Annotated[str, Parameter(help="How long to wait for the reply, such as `1 hour`.")] = "1 minute",
    json: JsonOption = False,
) -> int:
    """Send an update to a workflow, and print the reply of its program.

    Exit code: 0 done, 1 no reply in the time of --wait, 2 the command cannot start, 3 refused, or there will be no
    reply, 4 no engine answers, 5 unknown.

    Parameters
    ----------
    name
        The update's name.
    value
        Its value as JSON, or - to read standard input.
    """
    asked = InstanceRequest(address=address_of(address), action=name, payload=json_payload(value), key=key)
    with open_target(target) as found:
        reply = found.update(asked, wait)
    if json:
        write_json([{"form": reply.form} | ({} if reply.value is None else {"value": orjson.loads(reply.value)})])
    else:
        write_fields([(reply.form, reply.value or "")])
    return _code_of_reply(reply)


def _code_of_reply(reply: UpdateReply) -> ExitCode:
    return {"done": ExitCode.DONE, "waiting": ExitCode.FAILED}.get(reply.form, ExitCode.REFUSED)


def published(
    address: AddressArgument,
    name: Annotated[str, Parameter(name="NAME")],
    /,
    *,
    target: TargetOptions = UNSET,
    wait: Annotated[str, Parameter(help="How long to wait for the value, such as `1 hour`.")] = "0 ms",
    json: JsonOption = False,
) -> int:
    """Print a value that a workflow publishes, or wait for it.

    Exit code: 0 done, 1 no value in the time of --wait, 2 the command cannot start, 3 refused, or there will be no
    value, 4 no engine answers.

    Parameters
    ----------
    name
        The value's name.
    """
    asked = address_of(address)
    with open_target(target) as found:
        value = found.published(asked, name, wait)
    if json:
        write_json([{"form": value.form} | ({} if value.value is None else {"value": orjson.loads(value.value)})])
    else:
        write_fields([(value.form, value.value or "")])
    return {"published": ExitCode.DONE, "waiting": ExitCode.FAILED}.get(value.form, ExitCode.REFUSED)


def forget_key(
    address: AddressArgument,
    key: Annotated[str, Parameter(name="KEY")],
    /,
    *,
    target: TargetOptions = UNSET,
    json: JsonOption = False,
) -> int:
    """Forget an idempotency key, so that the request that used it can be made again.

    The history of the instance records who did it.

    Exit code: 0 done, 2 the command cannot start, 3 the key is not known, or its run is in progress, 4 no engine
    answers, 5 unknown.

    Parameters
    ----------
    key
        The idempotency key.
    """
    asked = address_of(address)
    with open_target(target) as found:
        found.check_engine()
        answer = found.perform(FORGET_KEY, kind=asked.kind, name=asked.name, id=asked.id, key=key)
    if json:
        write_json([{"address": str(asked), "key": key, "outcome": answer}])
    else:
        write_fields([(str(asked), answer.replace("_", " "))])
    return ExitCode.DONE if answer == "forgotten" else ExitCode.REFUSED


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

    If its last run failed, this is that run's next attempt.

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
    payload: Annotated[str | None, input_argument("PAYLOAD")] = None,
    /,
    *,
    target: TargetOptions = UNSET,
    wait_for: WaitOption = "completion",
    key: KeyOption = None,
    wait: EndOption = None,
    json: JsonOption = False,
) -> int:
    """Send any request, also to a kind of job of your own. It asks for no confirmation.

    Exit code: 0 done, 1 not over in the time of --wait, 2 the command cannot start, 3 refused, or the run did not
    succeed, 4 no engine answers, 5 unknown.

    Parameters
    ----------
    action
        The action. perdure jobs lists the actions that each job accepts.
    payload
        Its input as JSON, if it takes one, or - to read standard input.
    """
    text = "" if payload is None else json_payload(payload)
    asked = InstanceRequest(address=address_of(address), action=action, payload=text, key=key, wait_for=wait_for)
    return request(asked, target, json=json, wait=wait)


def calls(
    *requests: Annotated[str, input_argument("REQUEST")],
    target: TargetOptions = UNSET,
    json: JsonOption = False,
) -> int:
    """Send many requests, such as starts, signals and cancellations. It asks for no confirmation.

    The requests are sent 1,000 at a time, and each succeeds or fails for itself. Failures are printed, and all answers
    with --json.

    Exit code: 0 done, 2 the command cannot start, 3 some were refused, or their runs did not succeed, 4 no engine
    answers, 5 unknown.

    Parameters
    ----------
    requests
        JSON objects with an "address" and an "action", perhaps with a "payload" and a "key". Or - to read standard
        input, one a line.
    """
    lines = sys.stdin.read().splitlines() if requests == (FROM_STDIN,) else requests
    asked = list(_requests(lines))
    worst, done = ExitCode.DONE, 0
    with open_target(target) as found:
        for first in range(0, len(asked), MAX_TOGETHER):
            some = asked[first : first + MAX_TOGETHER]
            for each, result in zip(some, found.calls(some), strict=True):
                code = code_of(result.failure()) if isinstance(result, Failure) else code_of_answer(result.unwrap())
                worst, done = max(worst, code), done + (code is ExitCode.DONE)
                _write_call(each, code, result, json=json)
    sys.stderr.write(f"perdure: calls: {done:,} of {len(asked):,} done\n")
    return worst


def _requests(lines: Sequence[str]) -> Iterator[InstanceRequest]:
    for number, line in enumerate(lines, 1):
        try:
            given: Any = orjson.loads(line)
            address, action = address_of(given["address"]), str(given["action"])
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            expected = '{"address": "workflow:orders:1", "action": "start", "payload": ..., "key": "..."}'
            raise UsageError(f"request {number}: expected {expected}, got {shortened(line, 80)}") from error
        payload = orjson.dumps(given["payload"]).decode() if "payload" in given else ""
        yield InstanceRequest(address=address, action=action, payload=payload, key=given.get("key"), wait_for="start")


def _write_call(asked: InstanceRequest, code: ExitCode, result: Result[object, Any], *, json: bool) -> None:
    problem = str(result.failure()) if isinstance(result, Failure) else None
    if json:
        shown = {"answer": result.unwrap()} if problem is None else {"problem": problem}
        write_json([{"address": str(asked.address), "action": asked.action, "exit_code": int(code), **shown}])
    elif code is not ExitCode.DONE:
        write_lines([f"{asked.address}  {problem or ', '.join(f'{n} {v}' for n, v in answer_lines(result.unwrap()))}"])


def request(asked: InstanceRequest, options: TargetOptions, *, json: bool, wait: str | None = None) -> ExitCode:
    """Send a request and print its answer, or the end of its work."""
    if wait is not None:
        return _request_and_wait(asked, options, wait, json=json)
    with open_target(options) as target:
        answer = target.call(asked)
    if json:
        write_json([answer])
    else:
        write_fields(list(answer_lines(readable_answer(asked.address.kind, answer))))
    return code_of_answer(answer)


def _request_and_wait(asked: InstanceRequest, options: TargetOptions, wait: str, *, json: bool) -> ExitCode:
    with open_target(options) as target:
        end = target.call_and_wait(asked, wait)
    if json:
        outcome = {} if end.outcome is None else {"outcome": outcome_data(end.outcome)}
        reply = {} if end.reply is None else {"reply": data_of(end.reply)}
        write_json([{"form": end.form, "answer": end.answer, "status": data_of(end.status)} | outcome | reply])
    else:
        status = status_text(end.status.status.replace("_", " "), end.status)
        error = error_text(None if end.outcome is None else end.outcome.error)
        fields = [("status", status), ("outcome", outcome_text(end.outcome)), ("error", error)]
        if end.reply is not None:
            fields.append((end.reply.form, end.reply.value or ""))
        write_fields([(name, text) for name, text in fields if text])
    if end.reply is not None:
        return _code_of_reply(end.reply)
    if end.form == "not_reached":
        return ExitCode.FAILED
    is_failed = end.status.status == "parked" or (end.outcome is not None and end.outcome.form != "done")
    return ExitCode.REFUSED if is_failed else ExitCode.DONE
