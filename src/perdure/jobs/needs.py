"""The members that a job's hooks need of the services, read from their annotations, and their check."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Generator
from typing import Any, get_args, get_origin

from typing_extensions import TypeAliasType, get_protocol_members, is_protocol

from perdure.programs import Program
from perdure.values.errors import DefinitionError
from perdure.values.excerpt import fields_in_line
from perdure.values.frozen import frozen


@frozen
class Need:
    """The services that one hook needs.

    Attributes:
        hook: the function's name.
        services: the protocol in its annotation.
    """

    __repr__ = fields_in_line

    hook: str
    services: type


def needs_of(functions: tuple[object, ...]) -> tuple[Need, ...]:
    """Read the needs of hooks from their annotations: the third argument of ``Do``, ``Program`` and the readers.

    A hook whose annotation cannot be read, or does not name a protocol, has no need that can be checked.
    """
    found = ((function, _services_of(function)) for function in functions)
    return tuple(
        Need(getattr(function, "__name__", repr(function)), services)
        for function, services in found
        if is_protocol(services)
    )


def check_services(services: object, needs: tuple[Need, ...], *, job: str) -> None:
    """Check that services have the members that a job needs.

    Args:
        services: the record, never its factory.
        needs: the needs of the job's hooks.
        job: the job, printed ``kind:name``.

    Raises:
        DefinitionError: a member is missing; the message names the job, the hook and the members.
    """
    for need in needs:
        missing = _missing(services, need.services)
        if missing:
            names = ", ".join(missing)
            expected = f"a record with {names}, which {need.hook} of {job} needs ({need.services.__qualname__})"
            raise DefinitionError("services of the engine", services, expected)


def _services_of(function: object) -> type:
    try:
        answer: Any = typing.get_type_hints(function).get("return")
    except (NameError, TypeError, AttributeError):
        return object
    if get_origin(answer) is Generator:
        answer = get_args(answer)[0]
    origin, arguments = get_origin(answer), get_args(answer)
    has_services = isinstance(origin, TypeAliasType) or (isinstance(origin, type) and _is_reader(origin))
    needed = arguments[2] if has_services and len(arguments) > 2 else object  # noqa: PLR2004 - value, errors, services
    return needed if isinstance(needed, type) else object


def _is_reader(container: type) -> bool:
    return issubclass(container, Program) or container.__name__.startswith("RequiresContext")


def _missing(services: object, needed: type) -> list[str]:
    return sorted(member for member in get_protocol_members(needed) if not _has(services, member))


def _has(services: object, member: str) -> bool:
    """Return whether the member exists, without evaluating it."""
    absent = object()
    if inspect.getattr_static(services, member, absent) is not absent:
        return True
    return inspect.getattr_static(services, "__getattr__", absent) is not absent
