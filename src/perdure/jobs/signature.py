"""Refuses functions of a definition that the engine could not call or whose result it could not use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from types import MethodType
from typing import Any, Final, cast

from perdure.programs import Program
from perdure.values.errors import DefinitionError

_KNOWN_WRAPPERS: Final = ("perdure.programs.", "returns.")
"""Modules whose decorators keep the parameters of the decorated function. Others may add or remove parameters."""


def check_function(function: object, *, what: str, takes: Sequence[str], expected: str) -> Callable[..., Any]:
    """Check that a function accepts these arguments and is neither ``async def`` nor a generator function.

    Args:
        function: the user's function.
        what: the part of the definition, such as ``on_event of task:order``.
        takes: the names of its positional arguments.
        expected: its result, for the error.

    Raises:
        DefinitionError: it does not accept the arguments, or it returns a coroutine or a bare generator.
    """
    wanted = f"a function of ({', '.join(takes)}) that returns {expected}"
    if isinstance(function, Program):
        raise DefinitionError(what, cast("object", function), f"{wanted}; pass the function itself, without calling it")
    if not callable(function):
        raise DefinitionError(what, function, wanted)
    called = function if inspect.isroutine(function) or isinstance(function, type) else _called(function)
    if inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called):
        raise DefinitionError(
            what,
            _Shown(function, "async def "),
            f"{wanted}; an `async def` is for a service: put the `await` into an @effect, and yield from it",
        )
    if inspect.isgeneratorfunction(called):
        raise DefinitionError(
            what,
            _Shown(function, "generator function "),
            f"{wanted}; decorate a hook that has a `yield from` with @program",
        )
    refusal = _refusal(function, takes)
    if refusal is not None:
        raise DefinitionError(what, _Shown(function), f"{wanted} ({refusal})")
    return function


class _Shown:
    """Prints a function by its name and its parameters instead of by its address in memory."""

    def __init__(self, function: Callable[..., Any], prefix: str = "") -> None:
        signature = _signature(_unwrapped(function)[0])
        self._text = f"{prefix}{_name(function)}{'' if signature is None else _without_annotations(signature)}"

    def __repr__(self) -> str:
        return self._text


def _without_annotations(signature: inspect.Signature) -> inspect.Signature:
    empty = inspect.Parameter.empty
    bare = [parameter.replace(annotation=empty) for parameter in signature.parameters.values()]
    return signature.replace(parameters=bare, return_annotation=empty)


def _name(function: Callable[..., Any]) -> str:
    if isinstance(function, partial):
        return f"partial of {_name(function.func)}"
    return getattr(function, "__qualname__", None) or type(function).__qualname__


def _called(function: Callable[..., Any]) -> Any:  # a `partial` is unwrapped by `inspect` itself
    """Return the function that a call runs: the ``__call__`` of an object's class, unless it is a ``partial``."""
    return cast("object", function) if isinstance(function, partial) else type(function).__call__


def _refusal(function: Callable[..., Any], takes: Sequence[str]) -> str | None:
    """Return why a function does not accept these arguments; None if it does, or if that is unknown."""
    target, bound = _unwrapped(function)
    signature = _signature(target)
    if signature is None:
        return None
    try:
        signature.bind(*bound, *takes)
    except TypeError as refusal:
        return str(refusal)
    return None


def _unwrapped(function: Callable[..., Any]) -> tuple[Callable[..., Any], tuple[object, ...]]:
    """Unwrap decorators that pass every argument on; return the function and the ``self`` of unwrapped methods."""
    bound: tuple[object, ...] = ()
    while True:
        if isinstance(function, MethodType):
            bound = (function.__self__, *bound)
            function = function.__func__
        module = str(getattr(function, "__globals__", {}).get("__name__", ""))
        inner = getattr(function, "__wrapped__", None)
        if inner is None or not module.startswith(_KNOWN_WRAPPERS):
            return function, bound
        function = inner


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # a function written in C may have no signature
        return None
