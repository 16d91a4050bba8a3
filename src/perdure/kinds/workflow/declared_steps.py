"""A workflow's steps in source order, to compare two code versions without a store.

A replay compares the journal with the steps that the program performs. Without a journal only the source is known: this
module reads the names that a program loads, in order, and follows functions in the same package.
"""

from __future__ import annotations

import dis
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import CodeType, FunctionType, MethodType
from typing import Any, Final, cast

import attrs
from attrs import evolve

from perdure.jobs.code_fingerprint import MAX_FUNCTIONS, package_of, unwrapped
from perdure.kinds.workflow.instructions import Promise, Signal, Update, patched
from perdure.kinds.workflow.journal import CHILD, PROMISE, SIGNAL, UPDATE
from perdure.programs import as_completed, gather, race, sleep, sleep_until
from perdure.programs.constructors import LIMITS, STEP_NAME
from perdure.values.frozen import frozen

PATCH: Final = "patch "
"""Begins the name of the step that reads whether a workflow passes with the changed code."""

MAX_STEPS: Final = 10_000
"""Steps of one program that are compared."""

_NAMED: Final = {
    id(sleep): "sleep",
    id(sleep_until): "sleep until",
    id(gather): "gather",
    id(race): "race",
    id(as_completed): "as_completed",
}
_RECEIVED: Final[Mapping[type, str]] = {Signal: SIGNAL, Update: UPDATE, Promise: PROMISE}
_LOADS: Final = ("LOAD_GLOBAL", "LOAD_DEREF", "LOAD_NAME")
_ATTRIBUTES: Final = ("LOAD_ATTR", "LOAD_METHOD")
_UNKNOWN: Final = object()


def declared_steps(program: object) -> tuple[str, ...]:
    """Return the steps in a program and in the functions that it calls, in source order.

    A call through a value that exists only at run time, such as an argument, is left out.

    Args:
        program: the function that a `Workflow` runs.
    """
    return _Reading().of(program)[:MAX_STEPS]


def limited_effects(functions: Iterable[object]) -> tuple[str, ...]:
    """Return the names of the effects with limits that functions call, or the functions that they call.

    A call through a value that exists only at run time is left out.
    """
    reading = _Reading()
    for function in functions:
        reading.of(function)
    return tuple(reading.limited)


@frozen
class _Body:
    """A function's code.

    Attributes:
        receiver: a method's first argument. Empty for other functions.
    """

    code: CodeType
    names: Mapping[str, object]
    receiver: str
    package: str

    def loaded(self, one: dis.Instruction) -> object:
        """Return the value behind a name that an instruction loads. Unknown for a local variable."""
        argument: Any = one.argval
        if one.opname in _LOADS:
            return self.names.get(argument, _UNKNOWN)
        if not one.opname.startswith("LOAD_FAST"):
            return _UNKNOWN
        # Newer interpreters load two local variables with one instruction.
        names: tuple[Any, ...] = (argument,) if isinstance(argument, str) else tuple(argument)
        return self.names[self.receiver] if names[-1] == self.receiver else _UNKNOWN


@attrs.frozen(eq=False)
class _Reading:
    """Reads functions, each once.

    Attributes:
        known: the steps for each function and receiver. Both objects are kept, so that no other object has their
            identity.
        limited: the effects with limits, by their names.
    """

    known: dict[tuple[int, int], tuple[tuple[str, ...], object]] = attrs.Factory(
        dict[tuple[int, int], tuple[tuple[str, ...], object]]
    )
    limited: dict[str, None] = attrs.Factory(dict[str, None])

    def of(self, value: object) -> tuple[str, ...]:
        """Return the steps that a function call or method call performs."""
        function = _function_of(value)
        if function is None:
            return ()
        receiver = value.__self__ if isinstance(value, MethodType) else None
        key = id(function), id(receiver)
        if key not in self.known and len(self.known) < MAX_FUNCTIONS:
            # Before the body is read: a function that calls itself performs its own steps again, in the same order.
            self.known[key] = (), value
            names = _names(function)
            first = next(iter(function.__code__.co_varnames), "") if isinstance(value, MethodType) else ""
            body = _Body(function.__code__, {**names, first: receiver}, first, package_of(function))
            self.known[key] = tuple(self._steps(body)), value
        return self.known.get(key, ((), None))[0]

    def _steps(self, body: _Body) -> Iterator[str]:
        value: object = _UNKNOWN
        # Such a prefix may stand between a name and its attribute, which are looked at side by side.
        listed = [one for one in dis.get_instructions(body.code) if one.opname != "EXTENDED_ARG"]
        for at, one in enumerate(listed[:-1]):
            if isinstance(one.argval, CodeType):  # a lambda, an inner function or a comprehension
                yield from self._steps(evolve(body, code=one.argval))
            value = _attribute(value, str(one.argval)) if one.opname in _ATTRIBUTES else body.loaded(one)
            # Only the last part of a dotted name is the step.
            if value is not _UNKNOWN and listed[at + 1].opname not in _ATTRIBUTES:
                yield from _patch(listed, at) if value is patched else self._named(value, body)

    def _named(self, value: object, body: _Body) -> tuple[str, ...]:
        """Return the steps for the value behind a name or an attribute."""
        from perdure.kinds.workflow.definition import Workflow  # noqa: PLC0415 - a definition imports its steps

        owner: Any = getattr(value, "__self__", None)
        # By identity: a value's own equality is user code.
        if id(value) in _NAMED:
            return (_NAMED[id(value)],)
        if type(owner) in _RECEIVED:
            return (f"{_RECEIVED[type(owner)]}{owner.name}",)
        if isinstance(owner, Workflow):
            return (f"{CHILD}{cast('Workflow[Any, Any, Any]', owner).name}",)
        name = getattr(value, STEP_NAME, None)
        if name is not None:
            if hasattr(value, LIMITS):
                self.limited[str(name)] = None
            self.of(value)  # a step may call effects with limits: it is one step all the same
            return (str(name),)
        function = _function_of(value)
        # Functions of other packages are libraries: their changes come with a version of their own.
        return self.of(value) if function is not None and package_of(function) == body.package else ()


def _function_of(value: object) -> FunctionType | None:
    """Return a function, or a method's function. None for other values, such as a class."""
    if not isinstance(value, FunctionType | MethodType):
        return None
    return unwrapped(value.__func__ if isinstance(value, MethodType) else value)


def _attribute(value: object, name: str) -> object:
    try:
        return _UNKNOWN if value is _UNKNOWN else getattr(value, name, _UNKNOWN)
    except Exception:  # noqa: BLE001 - of a user's property
        return _UNKNOWN


def _names(function: FunctionType) -> dict[str, object]:
    """Return the values behind the names that a function does not define itself."""
    filled: dict[str, object] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            filled[name] = cell.cell_contents
        except ValueError:  # an empty cell: the name is set later
            continue
    return {**function.__globals__, **filled}


def _patch(listed: Sequence[dis.Instruction], at: int) -> tuple[str, ...]:
    texts = (one.argval for one in listed[at:] if one.opname == "LOAD_CONST" and isinstance(one.argval, str))
    return (f"{PATCH}{next(texts, '')}",)
