"""An explanation as a readable difference of the instance before and after."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import orjson

from perdure.cli.instances.answers import answer_lines
from perdure.cli.instances.changes import JsonChange, changes
from perdure.cli.instances.records import shown_name, value_text
from perdure.values.excerpt import shortened

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
