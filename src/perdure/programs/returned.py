"""Calls of service functions, which refuse a None that the function's annotation does not allow."""

from __future__ import annotations

import types
import typing
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import lru_cache
from types import CoroutineType
from typing import Any, Union, get_args, get_origin

from perdure.programs.errors import NothingReturned
from perdure.programs.instructions import ServiceCall


def call_service(call: ServiceCall, services: Any) -> object:  # the user's own record
    """Call the function of an effect.

    Returns:
        Its result, which may be an awaitable.

    Raises:
        NothingReturned: it returned None, and its annotation does not allow that.
    """
    answer = call.fn(services, *call.args, **call.kwargs)
    if answer is None:
        _allow_none(call)
    elif answer.__class__ is CoroutineType:
        return _Checked(call, answer)
    return answer


class _Checked(Awaitable[Any]):
    """The coroutine of a service function, with the check of its result. Closing it closes the coroutine."""

    __slots__ = ("_answer", "_call")

    def __init__(self, call: ServiceCall, answer: Coroutine[Any, Any, Any]) -> None:
        self._call = call
        self._answer = answer

    def __await__(self) -> Generator[Any, Any, object]:
        settled = yield from self._answer.__await__()
        if settled is None:
            _allow_none(self._call)
        return settled

    def close(self) -> None:
        """End the coroutine."""
        self._answer.close()


def _allow_none(call: ServiceCall) -> None:
    if not _may_return_none(call.fn):
        raise NothingReturned(getattr(call.fn, "__qualname__", call.name))


@lru_cache(maxsize=1_024)
def _may_return_none(function: Callable[..., object]) -> bool:
    """Return whether the annotation of a function allows None. It is read only after None was returned."""
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        return "None" in str(getattr(function, "__annotations__", {}).get("return", ""))
    return "return" in hints and _allows_none(hints["return"])


def _allows_none(annotation: Any) -> bool:  # an annotation has no type of its own
    if annotation in (None, types.NoneType, Any, object):
        return True
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(_allows_none(part) for part in arguments)
    return origin in (Awaitable, Coroutine) and bool(arguments) and _allows_none(arguments[-1])
