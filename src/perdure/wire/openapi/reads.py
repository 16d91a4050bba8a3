"""The answers of reads that no declared type describes: events of a history, and explanations."""

from __future__ import annotations

from typing import Final

from perdure.codecs.json_schema import REFERENCE, JsonSchema

_TEXT: Final[JsonSchema] = {"type": "string"}
_NUMBER: Final[JsonSchema] = {"type": "integer"}
_OBJECT: Final[JsonSchema] = {"type": "object"}
_INSTANCE: Final[JsonSchema] = {"type": ["object", "null"]}


def _record(name: str, description: str, required: JsonSchema, optional: JsonSchema) -> dict[str, JsonSchema]:
    return {
        name: {
            "title": name,
            "type": "object",
            "description": description,
            "properties": {**required, **optional},
            "required": list(required),
        }
    }


HISTORY: Final[JsonSchema] = {
    "type": "array",
    "items": {"$ref": f"{REFERENCE}LoggedEvent"},
    "$defs": _record(
        "LoggedEvent",
        "An event with its `fields`; with `unread`, its text, if this version of the library does not know its type.",
        {"sequence": _NUMBER, "type": _TEXT, "address": _TEXT, "at_ms": _NUMBER},
        {"fields": _OBJECT, "unread": _TEXT},
    ),
}
"""The schema of a page of a history."""

EXPLANATION: Final[JsonSchema] = {
    "anyOf": [{"$ref": f"{REFERENCE}{name}"} for name in ("Explained", "NeedsAnswer", "WaitsForRun")],
    "$defs": {
        **_record(
            "Explained",
            "The effect of the request, with the `answer` or the `problem` of the caller.",
            {
                "form": {"type": "string", "const": "explained"},
                "version": _NUMBER,
                "before": _INSTANCE,
                "after": _INSTANCE,
                "write": {"type": "string", "enum": ["put", "purge", "keep"]},
                "messages": {"type": "array", "items": _OBJECT},
                "events": {"type": "array", "items": _OBJECT},
            },
            {"answer": {}, "problem": _OBJECT},
        ),
        **_record(
            "NeedsAnswer",
            "The request calls a service, whose answer decides its effect.",
            {
                "form": {"type": "string", "const": "needs_answer"},
                "effect": _TEXT,
                "args": {"type": "array", "items": _TEXT},
                "kwargs": {"type": "object", "additionalProperties": _TEXT},
            },
            {},
        ),
        **_record(
            "WaitsForRun",
            "The request is decided after a run that is in progress.",
            {"form": {"type": "string", "const": "waits_for_run"}, "run_id": _TEXT},
            {},
        ),
    },
}
"""The schema of an explanation."""
