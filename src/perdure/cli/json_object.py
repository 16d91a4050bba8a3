"""JSON objects and arrays among JSON-able data, for the type checkers."""

from __future__ import annotations

from typing import Any, cast


def object_of(value: object) -> dict[str, Any] | None:
    """Return a JSON object; None if the value is something else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def array_of(value: object) -> list[Any] | None:
    """Return a JSON array; None if the value is something else."""
    return value if isinstance(value, list) else None  # pyright: ignore[reportUnknownVariableType] - of any values
