"""How the effects of runs are performed: a tracer, a lease and a test put functions of their own around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from perdure.jobs.step import Execute
from perdure.programs.drivers import default_handler

Perform: TypeAlias = Callable[[object, Any, Execute], object]
"""How to perform an effect: ``perform(instruction, services, execute)`` returns the result of a `Handler`."""


def perform_directly(instruction: object, services: Any, _: Execute) -> object:
    """Call the service, for any run."""
    return default_handler(instruction, services)
