"""Instances that an app declares: each with the request that creates it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import attrs

from perdure.jobs.definition import AnyDefinition, Definition
from perdure.jobs.explanation import request_of
from perdure.jobs.request import Request
from perdure.programs import Program
from perdure.values.address import Address, check_id
from perdure.values.errors import DefinitionError, InvalidId, InvalidInput
from perdure.values.excerpt import excerpt, fields_in_line
from perdure.values.limits import Limits

T = TypeVar("T")

MAX_ENSURED: Final = 1_000
"""Instances that an app may declare. The engine reads each of them at every start."""

_WANTED: Final = "a function that sends one request: lambda job: job.start(…)"


@attrs.frozen(kw_only=True)
class Ensured:
    """An instance that exists after every engine start.

    Attributes:
        request: the request that creates it.
    """

    __repr__ = fields_in_line

    job: AnyDefinition
    address: Address
    request: Request


def ensured(job: Definition[Any, T, Any], id_: str, asked: Callable[[T], Program[None]], limits: Limits) -> Ensured:
    """Declare an instance.

    Args:
        job: its definition.
        id_: its id.
        asked: the request that creates it, as a function that takes the sender.
        limits: the engine's limits.

    Raises:
        DefinitionError: the id is not valid, the function does not send exactly one request, the request does not
            create an instance, or its input is not valid.
    """
    what = f"ensuring of {job.kind}:{job.name}"
    try:
        address = job.address(check_id(id_))
        if not callable(asked):
            raise DefinitionError(what, asked, _WANTED)
        request = request_of(job, asked, key=None, max_bytes=limits.payload_bytes, of=what)
    except InvalidId as invalid:
        raise DefinitionError(f"id of {what}", invalid.got, invalid.expected) from invalid
    except InvalidInput as invalid:
        raise DefinitionError(what, _Problems(invalid.problems), f"a valid {invalid.what}") from invalid
    creating = [action for action, spec in job.plan.offered.items() if spec.absent == "creates"]
    if request.action not in creating:
        expected = f"a request that creates an absent instance: {', '.join(creating) or 'this kind has none'}"
        raise DefinitionError(f"request of {what}", request.action, expected)
    # A start must not wait for user code: a first run that hangs would keep the engine from serving.
    return Ensured(job=job, address=address, request=attrs.evolve(request, wait_for="start"))


@attrs.frozen(repr=False)
class _Problems:
    """Prints an input's problems."""

    problems: tuple[str, ...]

    def __repr__(self) -> str:
        return excerpt("; ".join(self.problems))
