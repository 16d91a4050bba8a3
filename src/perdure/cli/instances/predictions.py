"""The commands that say how an instance would change, and write nothing: ``perdure explain`` and ``perdure future``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any, Final, Literal

import attrs
import orjson
from cyclopts import Parameter

from perdure.cli.instances.presentation import (
    answer_lines,
    shown_name,
    value_text,
)
from perdure.cli.instances.requests import KeyOption, input_argument, json_payload
from perdure.cli.instances.selection import address_of
from perdure.cli.options import JsonOption, Repeated, pair_of, share_of_calls
from perdure.cli.output import array_of, object_of, write_json, write_object, write_styled_lines
from perdure.cli.process import ExitCode, UsageError, write_lines
from perdure.cli.target.opening import UNSET, TargetOptions, open_target
from perdure.cli.target.target import InstanceRequest
from perdure.jobs.request import ALARM
from perdure.values.excerpt import shortened
from perdure.wire.explanation import MOST_ENTRIES, MOST_READ, lines_of_future, why_no_alarm


@attrs.frozen
class JsonChange:
    """A difference.

    Attributes:
        form: whether a value was added, removed or changed.
        path: such as ``state.lines[0].amount``.
        before: the old value. None if it was added.
        after: the new value. None if it was removed.
    """

    form: Literal["added", "removed", "changed"]
    path: str
    before: object
    after: object


def changes(before: object, after: object, path: str = "") -> Iterator[JsonChange]:
    """Yield the differences: the old value's members in their order, then the new members.

    >>> [change.path for change in changes({"a": 1, "b": [1]}, {"a": 2, "b": [1, 3]})]
    ['a', 'b[1]']

    Args:
        before: JSON-able data.
        after: the same.
        path: where both are in a larger value.
    """
    objects, arrays = (object_of(before), object_of(after)), (array_of(before), array_of(after))
    if objects[0] is not None and objects[1] is not None:
        yield from _members(objects[0], objects[1], path)
    elif arrays[0] is not None and arrays[1] is not None:
        yield from _elements(arrays[0], arrays[1], path)
    elif json_text(before) != json_text(after):
        yield JsonChange("changed", path, before, after)


def json_text(value: object) -> bytes:
    """Return JSON that differs for ``1``, ``1.0`` and ``true``."""
    return orjson.dumps(value)


def _members(before: dict[str, Any], after: dict[str, Any], path: str) -> Iterator[JsonChange]:
    for name in [*before, *(each for each in after if each not in before)]:
        inner = f"{path}.{name}" if path else name
        if name not in after:
            yield JsonChange("removed", inner, before[name], None)
        elif name not in before:
            yield JsonChange("added", inner, None, after[name])
        else:
            yield from changes(before[name], after[name], inner)


def _elements(before: list[Any], after: list[Any], path: str) -> Iterator[JsonChange]:
    both = min(len(before), len(after))
    for at in range(both):
        yield from changes(before[at], after[at], f"{path}[{at}]")
    for at in range(both, len(before)):
        yield JsonChange("removed", f"{path}[{at}]", before[at], None)
    for at in range(both, len(after)):
        yield JsonChange("added", f"{path}[{at}]", None, after[at])


MAX_VALUE_CHARACTERS: Final = 200

_MARKS: Final = {"added": "+", "removed": "-", "changed": "~"}
_UNSHOWN: Final = frozenset({"address", "incarnation", "version", "created_ms", "updated_ms", "state_version"})


def difference_lines(explanation: dict[str, Any]) -> Iterator[str]:
    """Print an explanation as lines.

    Args:
        explanation: the JSON-able data that `perdure.wire.explanation` returns.
    """
    for limit in explanation.get("waits_for", ()):
        yield f"the run would wait for the limit {limit}"
    match explanation:
        case {"form": "needs_answer", "effect": effect, "args": args, "kwargs": kwargs}:
            passed = [*args, *(f"{name}={value}" for name, value in kwargs.items())]
            yield f"the rest depends on a service: {effect}({', '.join(passed)})"
        case {"form": "waits_for_run", "run_id": run_id}:
            yield f"the request waits for a run in progress ({run_id})"
        case _:
            yield from _result(explanation)
            yield from _instance(explanation)
            yield from _listed("message", [_message(each) for each in explanation["messages"]])
            yield from _listed("event", [_event(each) for each in explanation["events"]])


def _result(explanation: dict[str, Any]) -> Iterator[str]:
    if "problem" in explanation:
        yield f"refused: {explanation['problem'].get('detail', '')}"
    elif explanation["answer"] is not None:
        yield "answer"
        yield from (f"    {name}  {value}" for name, value in answer_lines(explanation["answer"]))


def _instance(explanation: dict[str, Any]) -> Iterator[str]:
    before, after = _shown(explanation["before"]), _shown(explanation["after"])
    lines = [_change(change) for change in changes(before, after)]
    match explanation:
        case {"write": "purge"}:
            yield f"instance  deleted (version {explanation['version']})"
        case {"write": "keep"}:
            yield "instance  unchanged"
        case {"before": None}:
            yield "instance  created"
        case _:
            yield f"instance  changed (version {explanation['version']} to {explanation['version'] + 1})"
    yield from lines if explanation["write"] == "put" else ()


def _shown(instance: dict[str, Any] | None) -> dict[str, Any]:
    """Return the fields that have a value, with an empty state for an absent one, so that its members are shown."""
    if instance is None:
        return {"state": {}}
    return {name: value for name, value in instance.items() if value is not None and name not in _UNSHOWN}


def _change(change: JsonChange) -> str:
    name = change.path
    old, new = _value(name, change.before), _value(name, change.after)
    values = f"{old} -> {new}" if change.form == "changed" else new if change.form == "added" else old
    return f"  {_MARKS[change.form]} {shown_name(name)}  {values}"


def _value(path: str, value: Any) -> str:
    is_own = path.startswith(("state", "data")) and path[4:5] in ("", ".", "[", "e")
    text = orjson.dumps(value).decode() if is_own else value_text(path.rpartition(".")[2], value)
    return shortened(text, MAX_VALUE_CHARACTERS)


def _listed(name: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield f"{name}s"
        yield from (f"  + {line}" for line in lines)


def _message(message: dict[str, Any]) -> str:
    target = message["target"]
    text = f"{message['action']} to {target['kind']}:{target['name']}:{target['id']}  {message['payload']}"
    return shortened(text.rstrip(), MAX_VALUE_CHARACTERS)


def _event(event: dict[str, Any]) -> str:
    fields = [
        f"{shown_name(name)}={value_text(name, value)}"
        for name, value in event.items()
        if name not in ("type", "event_id")
    ]
    shown = ", ".join(field for field in fields if not field.endswith("="))
    return shortened(f"{event['type']}  {shown}".rstrip(), MAX_VALUE_CHARACTERS)


def explain(
    address: Annotated[str, Parameter(name="ADDRESS")],
    action: Annotated[str, Parameter(name="ACTION")] = "alarm",
    payload: Annotated[str | None, input_argument("PAYLOAD")] = None,
    /,
    *,
    target: TargetOptions = UNSET,
    key: KeyOption = None,
    json: JsonOption = False,
) -> int:
    """Show the effect of a request without applying it: changes of the instance, messages, events, the answer.

    The engine runs the job's own code on the committed state, up to the first service call. Nothing is written.

    Exit code: 0 done, 2 the command cannot start, 3 the request would be refused, 4 no engine answers.

    Parameters
    ----------
    address
        The instance, written kind:name:id.
    action
        Such as send or pause. By default alarm: the instance's alarm, if it is due.
    payload
        The input as JSON, if the action takes one, or - to read standard input.
    """
    text = "" if payload is None else json_payload(payload)
    asked = InstanceRequest(address=address_of(address), action=action, payload=text, key=key)
    with open_target(target) as found:
        explanation = found.explain(asked)
    if json:
        write_json([explanation])
    else:
        write_styled_lines(difference_lines(explanation))
        if action == ALARM.action and explanation.get("write") == "keep":
            write_lines([why_no_alarm(explanation["before"])])
    return ExitCode.REFUSED if "problem" in explanation else ExitCode.DONE


_ACTION = re.compile(r"[a-z_]+(\.[^=\s]+)?")


def event_of(text: str) -> dict[str, Any]:
    """Return an event of a future: ``JSON``, ``ACTION=JSON`` or ``ACTION``.

    >>> event_of('{"cents": 5}'), event_of("signal.go=3"), event_of("pause")
    ({'payload': {'cents': 5}}, {'action': 'signal.go', 'payload': 3}, {'action': 'pause'})

    Raises:
        UsageError: it is none of these.
    """
    with suppress(orjson.JSONDecodeError):
        return {"payload": orjson.loads(text)}
    action, equals, payload = text.partition("=")
    if not _ACTION.fullmatch(action):
        raise UsageError(f"--event {text!r}: write the event as JSON, or ACTION=JSON, such as signal.go=3")
    return {"action": action, "payload": orjson.loads(json_payload(payload))} if equals else {"action": action}


def future(
    address: Annotated[str, Parameter(name="ADDRESS")],
    /,
    *,
    target: TargetOptions = UNSET,
    for_: Annotated[str, Parameter(name="--for")] = "30 days",
    event: Repeated = (),
    after: str = "0 ms",
    twice: Annotated[bool, Parameter(negative="")] = False,
    key: str | None = None,
    never: Repeated = (),
    down: Repeated = (),
    fail: Repeated = (),
    answer: Repeated = (),
    latency: str = "0 ms",
    seed: int = 0,
    most: int = MOST_ENTRIES,
    instances: int = MOST_READ,
    begins: Annotated[str | None, Parameter(name="--from")] = None,
    json: JsonOption = False,
) -> int:
    """Show the future of one instance: if it is left alone, if an event comes, if a service is down.

    The code of the job runs on a copy of the instance, in virtual time. Nothing is written, and no service is called:
    services answer what journals have recorded, or the first success of their declared type. A running engine computes
    it, or this command if the store is at rest and you pass --app. It needs the extra testing there.

    Exit code: 0 done, 2 the command cannot start, 3 the question is refused, 4 no engine answers.

    Parameters
    ----------
    address
        The instance, written kind:name:id.
    for_
        How long, in virtual time.
    event
        An event that comes: JSON, ACTION=JSON such as signal.go=3, or an ACTION without input. Repeatable.
    after
        How long from now the events come. By default now.
    twice
        Each event comes twice.
    key
        The idempotency key of each event: a second one with it is a repeat, and changes nothing.
    never
        An action of messages that never reach the instance. Repeatable.
    down
        How long from now a service is down: NAME=DURATION, such as charge="1 day". Repeatable.
    fail
        The share of an effect's calls that fail: NAME=SHARE, such as charge=5%. Repeatable.
    answer
        The answer of an effect: NAME=JSON, such as 'fetch=3'. Repeatable.
    latency
        How long each call of a service takes, in virtual time.
    seed
        Decides jitter and faults.
    most
        How many entries it has at most, up to 1000. Of all instances, 20 times as many commits happen at most.
    instances
        How many instances are read at most, up to 100: this one, its children, those that messages reach.
    begins
        The moment at which it begins, such as 2026-03-08T09:00:00Z. By default now.
    """
    for option, number, limit in (("--most", most, MOST_ENTRIES), ("--instances", instances, MOST_READ)):
        if not 1 <= number <= limit:
            raise UsageError(f"{option} {number}: expected a number from 1 to {limit:,}")
    keyed = {} if key is None else {"idempotency_key": key}
    answers = [pair_of(each, "--answer fetch=3") for each in answer]
    question: dict[str, Any] = {
        "lasting": for_,
        "events": [event_of(each) | {"after": after, "times": 2 if twice else 1} | keyed for each in event],
        "never": never,
        "down": dict(pair_of(each, '--down charge="1 day"') for each in down),
        "fail": {name: share_of_calls(text) for name, text in (pair_of(each, "--fail charge=5%") for each in fail)},
        "answers": {name: orjson.loads(json_payload(text)) for name, text in answers},
        "latency": latency,
        "seed": seed,
        "most": most,
        # An older engine does not know this part.
        **({} if instances == MOST_READ else {"instances": instances}),
        **({} if begins is None else {"begins": begins}),
    }
    with open_target(target) as found:
        seen = found.future(address_of(address), orjson.dumps(question))
    if json:
        write_object(seen)
    else:
        write_lines(lines_of_future(seen))
    return ExitCode.DONE
