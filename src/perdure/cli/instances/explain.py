"""``perdure explain``: the effect of a request, without applying it, as a difference of the instance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

import attrs
import orjson
from cyclopts import Parameter

from perdure.cli.instances.presentation import answer_lines, shown_name, value_text
from perdure.cli.instances.requests import KeyOption, json_payload
from perdure.cli.instances.selection import address_of
from perdure.cli.options import JsonOption
from perdure.cli.output import array_of, object_of, write_json, write_styled_lines
from perdure.cli.process import ExitCode, write_lines
from perdure.cli.target.opening import UNSET, TargetOptions, open_target
from perdure.cli.target.target import InstanceRequest
from perdure.jobs.request import ALARM
from perdure.values.excerpt import shortened
from perdure.wire.diagnosis import why_no_alarm


@attrs.frozen
class JsonChange:
    """A difference.

    Attributes:
        form: whether a value was added, removed or changed.
        path: such as ``state.lines[0].amount``.
        before: the old value; None if it was added.
        after: the new value; None if it was removed.
    """

    form: Literal["added", "removed", "changed"]
    path: str
    before: object
    after: object


def changes(before: object, after: object, path: str = "") -> Iterator[JsonChange]:
    """Yield the differences, in the order of the old value's members, then the new ones.

    >>> [change.path for change in changes({"a": 1, "b": [1]}, {"a": 2, "b": [1, 3]})]
    ['a', 'b[1]']

    Args:
        before: JSON-able data.
        after: the same.
        path: of both, in a larger value.
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
    """Yield the lines of an explanation.

    Args:
        explanation: JSON-able data of `perdure.wire.explanation`.
    """
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
