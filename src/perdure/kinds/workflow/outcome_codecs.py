"""How the outcome of a step becomes JSON: by the annotation of the function of its effect."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

from returns.result import Failure, Success

from perdure.codecs import Codec
from perdure.kinds.workflow.errors import NotRecordable
from perdure.kinds.workflow.instructions import OneStep
from perdure.programs import ServiceCall
from perdure.programs.declared import Declared, Undeclared, declared_by
from perdure.values.errors import DefinitionError

Codecs: TypeAlias = tuple[Codec[Any], Codec[Any] | None]
"""The codec of the values and that of the typed errors."""


def codecs_of(instruction: ServiceCall | OneStep) -> Codecs:
    """Return the codecs of the outcome of a step.

    Raises:
        NotRecordable: the annotation of its function does not declare them.
    """
    if isinstance(instruction, OneStep):
        return instruction.values, instruction.errors
    return _codecs(instruction.fn, instruction.name)


@cache
def _codecs(function: Callable[..., Any], name: str) -> Codecs:
    match declared_by(function):
        case Undeclared(reason):
            raise NotRecordable(name, f"{reason}; annotate it, such as -> FutureResult[Receipt, Declined]")
        case Declared(value=value, error=error):
            try:
                values: Codec[Any] = Codec.of(value, what=f"value of {name}")
                errors: Codec[Any] | None = None if error is None else Codec.of(error, what=f"error of {name}")
            except DefinitionError as problem:
                raise NotRecordable(name, str(problem)) from problem
            return values, errors


def encoded(instruction: ServiceCall | OneStep, outcome: Success[Any] | Failure[Any], most: int) -> tuple[bytes, bool]:
    """Return the JSON of an outcome, and whether it has secrets.

    Args:
        instruction: the step.
        outcome: its outcome.
        most: the limit of its bytes.

    Raises:
        NotRecordable: the outcome is too large, or declared without an error type.
        InvalidInput: the outcome is not of the declared type.
    """
    values, errors = codecs_of(instruction)
    if isinstance(outcome, Success):
        codec, encoded_value = values, values.encode(outcome.unwrap())
    elif errors is None:
        raise NotRecordable(instruction.name, f"it failed with {outcome.failure()!r}, and declares no error")
    else:
        codec, encoded_value = errors, errors.encode(outcome.failure())
    return recordable(instruction.name, encoded_value, most), codec.secret


def recordable(name: str, outcome: bytes, most: int) -> bytes:
    """Return an encoded outcome.

    Raises:
        NotRecordable: it is larger than the limit.
    """
    if len(outcome) > most:
        raise NotRecordable(name, f"it has {len(outcome)} bytes, more than payload_bytes ({most}); return a reference")
    return outcome
