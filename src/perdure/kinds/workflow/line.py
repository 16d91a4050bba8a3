"""The line of a program at which a branch waits, for messages about divergence."""

from __future__ import annotations

from types import GeneratorType
from typing import Any

from perdure.programs.instructions import DO
from perdure.programs.interpreter import Loop, stack_of


def line_of(loop: Loop[Any, Any]) -> str | None:
    """Return the file and line of the innermost do-block of a program that waits; None outside of any.

    Args:
        loop: the interpreter of the program.
    """
    for tag, payload in reversed(stack_of(loop)):
        if tag == DO and isinstance(payload, GeneratorType) and payload.gi_frame is not None:
            code = payload.gi_frame.f_code
            return f"{code.co_filename}:{payload.gi_frame.f_lineno} in {code.co_name}"
    return None
