"""The fingerprint of the code that reads a job's stored data."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any, Final

import attrs
import orjson

from perdure.codecs import Codec, fingerprint
from perdure.codecs.json_schema import canonical
from perdure.jobs.definition import AnyDefinition

MAX_CACHED: Final = 1_024
"""The number of definitions whose fingerprints are kept."""

MAX_FUNCTIONS: Final = 10_000
"""Functions that one fingerprint includes."""

MESSAGE_FORMAT: Final = 2
"""It rises when engines send messages that earlier versions of this library leave. 1 has none to subscribers."""

_DIGITS: Final = 16


def code_of(definition: AnyDefinition, reads: str = "") -> str:
    """Return a fingerprint of all that decides whether a definition can read a stored instance.

    These are the types that it stores, its state's version, the functions that upgrade older versions, the form of
    messages, and for a kind that keeps journals their form and the job's functions, with those that they call in the
    same package. The same code has the same fingerprint after a restart.

    Args:
        definition: the definition.
        reads: decides that as well: the key ids of an encrypted store.
    """
    own = _code(DefinitionKey(definition))
    # The keys that can be read are part of it: with another key, other rows can be read.
    return own if not reads else fingerprint(orjson.dumps((own, reads)))[:_DIGITS]


@attrs.frozen(eq=False)
class DefinitionKey:
    """A definition as a key: your own kind may compare its definitions by their fields."""

    definition: AnyDefinition

    # Identity: two definitions with equal fields may have different functions, and so different fingerprints.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, DefinitionKey) and other.definition is self.definition

    def __hash__(self) -> int:
        return id(self.definition)


@lru_cache(maxsize=MAX_CACHED)
def _code(key: DefinitionKey) -> str:
    definition, plan = key.definition, key.definition.plan
    codecs = {
        "state": plan.state,
        "errors": plan.errors,
        **{f"version {step.version}": step.codec for step in plan.upgrades.steps},
        **{f"input of {action}": spec.input for action, spec in plan.commands.items()},
        **{f"kept {number}": codec for number, codec in enumerate(plan.kept)},
    }
    functions: list[object] = [step.upcast.function for step in plan.upgrades.steps]
    if definition.keeps_journal:
        functions += plan.hooks.values()
    parts = {name: _schema(codec) for name, codec in codecs.items()}
    version = plan.state_version, definition.journal_format, MESSAGE_FORMAT
    return fingerprint(orjson.dumps((version, parts, list(_texts(functions)))))[:_DIGITS]


def read_by(definition: AnyDefinition) -> str:
    """Return a fingerprint of the types and functions that read a stored state of this definition."""
    plan = definition.plan
    older = [_schema(step.codec) for step in plan.upgrades.steps]
    functions = list(_texts([step.upcast.function for step in plan.upgrades.steps]))
    return fingerprint(orjson.dumps((plan.state_version, _schema(plan.state), older, functions)))[:_DIGITS]


def function_texts(functions: tuple[object, ...]) -> Iterator[str]:
    """Yield the texts of functions, and of those that they call in the same package."""
    return _texts(list(functions))


def _schema(codec: Codec[Any] | None) -> object:
    return None if codec is None else canonical(codec.json_schema())


def _texts(functions: list[object]) -> Iterator[str]:
    """Yield each function's text, and the text of those that it calls in the same package, in discovery order."""
    seen: set[CodeType] = set()
    waiting = [unwrapped(function) for function in functions]
    for function in waiting:
        # By code: closures of one factory share it, and the limit would be spent on repeats.
        if function is None or function.__code__ in seen or len(seen) >= MAX_FUNCTIONS:
            continue
        seen.add(function.__code__)
        yield from _text(function.__code__)
        waiting.extend(_called(function))


def unwrapped(function: object) -> FunctionType | None:
    """Return the function below its decorators. None if the value is not a function."""
    # A decorator that keeps the function below is followed: its own text is the
    # same for all functions that it decorates.
    while not isinstance(function, FunctionType) or hasattr(function, "__wrapped__"):
        inner: object = getattr(function, "__wrapped__", None) or getattr(function, "func", None)
        if inner is None or inner is function:
            return function if isinstance(function, FunctionType) else None
        function = inner
    return function


def _called(function: FunctionType) -> Iterator[FunctionType | None]:
    package = package_of(function)
    cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    named = [function.__globals__.get(name) for code in _codes(function.__code__) for name in code.co_names]
    # Classes are left out: their types are part of the schemas.
    for value in (*cells, *named):
        found = unwrapped(value) if callable(value) and not isinstance(value, type) else None
        if found is not None and package_of(found) == package:
            yield found


def package_of(function: FunctionType) -> str:
    """Return the package that a function's module is in."""
    module: str | None = function.__module__  # None in a script without a name
    return (module or "").partition(".")[0]


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    # An empty cell belongs to a name that is not assigned yet.
    except ValueError:
        return False


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _text(code: CodeType) -> Iterator[str]:
    """Yield a function's instructions, without its lines."""
    for one in _codes(code):
        constants = [_constant(value) for value in one.co_consts if not isinstance(value, CodeType)]
        yield repr((one.co_code.hex(), one.co_names, one.co_varnames, constants))


def _constant(value: object) -> str:
    """Print a constant. A set's order differs between processes."""
    if not isinstance(value, frozenset):
        return repr(value)
    members: frozenset[object] = value  # pyright: ignore[reportUnknownVariableType] - of hashable constants
    # An unsorted set would change the fingerprint at each start, and every start would try again to read all instances
    # that are left.
    return repr(sorted(map(repr, members)))
