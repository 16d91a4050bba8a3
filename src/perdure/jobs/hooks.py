"""Hooks: the user's functions in a definition, which may return any ``returns`` container, and how they fail.

Functions that the engine could not call, or whose result it could not use, are refused. A program's exit becomes a
failure record, and a record becomes a typed error again.
"""

from __future__ import annotations

import enum
import inspect
import traceback
import types
import typing
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial, wraps
from types import MethodType
from typing import Annotated, Any, Final, Generic, Never, TypeVar, Union, cast, get_args, get_origin

import attrs
from returns.context import RequiresContextFutureResult, RequiresContextIOResult, RequiresContextResult
from returns.future import FutureResult
from returns.io import IO, IOResult
from returns.result import Failure, Result
from typing_extensions import TypeAliasType
from typing_extensions import TypeVar as DefaultTypeVar

from perdure.codecs import Codec, Opened
from perdure.programs import Halted, NotAProgram, Program, Raised, ServiceCall, as_program, perform, succeed
from perdure.programs.container import is_program_function
from perdure.values.errors import DefinitionError, HookFailed, HookRaised, InvalidInput, Rejected, RunTimeout
from perdure.values.excerpt import excerpt
from perdure.values.retry import Retry
from perdure.values.secret import scrubbed, shown_fields
from perdure.values.status import MAX_MESSAGE_CHARACTERS, MAX_TRACEBACK_CHARACTERS, Defect, FailureRecord

_KNOWN_WRAPPERS: Final = ("perdure.programs.", "returns.")
"""Modules whose decorators keep the parameters of the decorated function. Others may add or remove parameters."""


def check_function(function: object, *, what: str, takes: Sequence[str], expected: str) -> Callable[..., Any]:
    """Check that a function accepts these arguments and is neither ``async def`` nor a generator function.

    Args:
        function: the user's function.
        what: the definition's part, such as ``on_event of task:order``.
        takes: positional argument names.
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
    """Prints a function by its name and its parameters instead of by its memory address."""

    def __init__(self, function: Callable[..., Any], prefix: str = "") -> None:
        signature = _signature(_unwrapped(function)[0])
        self._text = f"{prefix}{_printed_name(function)}{'' if signature is None else _without_annotations(signature)}"

    def __repr__(self) -> str:
        return self._text


def _without_annotations(signature: inspect.Signature) -> inspect.Signature:
    empty = inspect.Parameter.empty
    bare = [parameter.replace(annotation=empty) for parameter in signature.parameters.values()]
    return signature.replace(parameters=bare, return_annotation=empty)


def _printed_name(function: Callable[..., Any]) -> str:
    if isinstance(function, partial):
        return f"partial of {_printed_name(function.func)}"
    return getattr(function, "__qualname__", None) or type(function).__qualname__


def _called(function: Callable[..., Any]) -> Any:  # a `partial` is unwrapped by `inspect` itself
    """Return the function that a call runs: the ``__call__`` that an object's class has, unless it is a ``partial``."""
    return cast("object", function) if isinstance(function, partial) else type(function).__call__


def _refusal(function: Callable[..., Any], takes: Sequence[str]) -> str | None:
    """Return why a function does not accept these arguments. None if it does, or if that is unknown."""
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
    """Unwrap decorators that pass every argument on. Return the function and the unwrapped methods' ``self``."""
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


_T = TypeVar("_T")
_E = DefaultTypeVar("_E", default=Never)
_R = DefaultTypeVar("_R", default=object)

HookResult = TypeAliasType(
    "HookResult",
    Program[object, _E, _R]
    | RequiresContextFutureResult[object, _E, _R]
    | RequiresContextIOResult[object, _E, _R]
    | RequiresContextResult[object, _E, _R]
    | FutureResult[object, _E]
    | IOResult[object, _E]
    | Result[object, _E],
    type_params=(_E, _R),
)
"""The result of a hook: a program, or any effect container of ``returns``. The kinds here ignore the value."""


class Undelayed(Generic[_T]):
    """Never instantiated: see ``RetryPolicy``."""


RetryPolicy = TypeAliasType("RetryPolicy", Retry[_E] | Undelayed[Callable[[_E], None]], type_params=(_E,))
"""A retry for errors of this type.

The second alternative exists for mypy alone: it infers from arguments with a callable after the others, so it takes the
type of the errors from the hooks first, and a retry for every error does not widen it to ``object``.
"""


class FromHooks(enum.Enum):
    """The default for ``errors=``: read the type from the hooks' annotations."""

    FROM_HOOKS = "from hooks"


FROM_HOOKS: Final = FromHooks.FROM_HOOKS

_CONTAINERS = (
    Program,
    RequiresContextFutureResult,
    RequiresContextIOResult,
    RequiresContextResult,
    FutureResult,
    IOResult,
    Result,
)


def hook(function: object, *, what: str, takes: Sequence[str] = ("ctx",)) -> Callable[..., Program[Any, Any, Any]]:
    """Wrap a function so that it returns a program, for any ``returns`` container that it returns itself.

    The function is called when the program runs, never before: its claim is committed by then, and its exceptions are
    defects in the run. A function that acts when it is called, as ``IOResult`` declares, counts as an external effect.

    Args:
        function: the user's function.
        what: the definition's part, such as ``execute of task:order``, for errors.
        takes: positional argument names.

    Raises:
        DefinitionError: it is not a function, does not accept these arguments, is ``async def``, or is a generator
            function without ``@program``.
    """
    given = check_function(function, what=what, takes=takes, expected="a Program or a container of returns")
    # Other functions are called inside a program, because they may act or raise when they are called: by then the claim
    # is stored.
    if is_program_function(given):
        return given
    if _acts_when_called(given):
        return lambda *args: perform(ServiceCall(_name(given), args, {}, _without_services(given)))
    return lambda *args: _START.bind(lambda _: _program(given(*args), what))


def _program(answer: Any, what: str) -> Program[Any, Any, Any]:  # anything that a hook may return
    try:
        return as_program(answer)
    except NotAProgram as wrong:
        raise attrs.evolve(wrong, source=what) from None


def _without_services(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a function without services into a service call."""

    @wraps(function)
    def call(_: object, *args: object) -> object:
        return function(*args)

    return call


_START: Program[None] = succeed(None)


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", None) or repr(function)


def _acts_when_called(function: Callable[..., Any]) -> bool:
    """Return whether a function declares ``IOResult``, or a ``returns`` decorator makes it return one."""
    if (
        getattr(function, "__globals__", {}).get("__name__") == "returns.io"
    ):  # `@impure_safe` does not change the annotations
        return True
    try:
        answer = typing.get_type_hints(function).get("return")
    except (NameError, TypeError, AttributeError):
        return False
    return (get_origin(answer) or answer) in (IOResult, IO)


def errors_of(functions: tuple[object, ...], *, tags: typing.Mapping[type, str] | None, what: str) -> Codec[Any] | None:
    """Read the errors' type from the hooks' annotations.

    Returns:
        The codec for those errors. None if no annotation names a type, or the type cannot be encoded. An error with any
        other type, such as one from a hook without annotations, is kept as text.
    """
    found: list[object] = []
    for function in functions:
        error = error_of(function)
        if error is not Any and error is not Never and error not in found:
            found.append(error)
    if not found:
        return None
    try:
        return Codec.of(Union[tuple(found)], what=what, tags=tags, ignores_other_tags=True)  # type: ignore[arg-type]  # noqa: UP007 - built at run time
    # The annotation was read, not declared: a type without a codec must not make the job invalid.
    except DefinitionError:
        return None


def error_of(function: object) -> object:
    """Read a hook's error type from its annotation: ``Never`` if it cannot fail, Any if it is unknown."""
    try:
        answer = typing.get_type_hints(function, include_extras=True).get("return", Any)
    except (NameError, TypeError, AttributeError):
        return Any
    return _error_argument(answer)


def _error_argument(answer: Any) -> object:  # an annotation has no type of its own
    origin = get_origin(answer)
    if origin is Annotated:
        return _error_argument(get_args(answer)[0])
    if isinstance(origin, TypeAliasType):  # Do[A, E, R]
        return _second(get_args(answer), default=Never)
    if origin in (Union, types.UnionType):
        parts = [_error_argument(part) for part in get_args(answer)]
        return Any if Any in parts else Union[tuple(parts)]  # noqa: UP007 - built at run time
    if origin is Generator:
        return _error_argument(get_args(answer)[0])
    if isinstance(origin, type) and issubclass(origin, _CONTAINERS):
        return _second(get_args(answer), default=Never)
    return Any


def _second(arguments: tuple[object, ...], *, default: object) -> object:
    return arguments[1] if len(arguments) > 1 else default


def value_of(function: object) -> object:
    """Read a hook's value type from its annotation, as a type form: Any if it is unknown."""
    try:
        answer = typing.get_type_hints(function, include_extras=True).get("return", Any)
    except (NameError, TypeError, AttributeError):
        return Any
    return _value_argument(answer)


def _value_argument(answer: Any) -> object:  # as above
    origin, arguments = get_origin(answer), get_args(answer)
    if origin is Annotated:
        return _value_argument(arguments[0])
    if origin in (Union, types.UnionType):
        parts = [_value_argument(part) for part in arguments]
        return Any if Any in parts else Union[tuple(parts)]  # noqa: UP007 - built at run time
    if origin is Generator:
        return arguments[2] if len(arguments) > 2 else None  # noqa: PLR2004 - after the sent type
    named = isinstance(origin, TypeAliasType) or (isinstance(origin, type) and issubclass(origin, _CONTAINERS))
    return arguments[0] if named and arguments else Any


E = TypeVar("E")


def _value_of(opened: Opened[E]) -> E:
    return opened.value


def record_failure(
    exit_: Failure[Any] | Raised | Halted,
    errors: Codec[Any] | None,
    *,
    secrets: frozenset[str] = frozenset(),
    encode: Callable[[Codec[Any], Any], bytes] = Codec[Any].encode,
) -> FailureRecord:
    """Describe why a run did not succeed.

    Args:
        exit_: the program's exit.
        errors: the codec for the definition's typed errors. An error that it cannot encode is kept as text.
        secrets: the secrets that the program had. They are removed from the message and the traceback.
        encode: encodes a typed error, with the members that newer code wrote into the objects.
    """
    match exit_:
        case Failure(error):
            data = _encoded(error, errors, encode)
            if data is not None and errors is not None:
                secrets |= errors.secrets(data.encode())
            message = _text(error, secrets)
            return FailureRecord(form="failure", error_type=type(error).__name__, message=message, data=data)
        case Raised(cause):
            return FailureRecord(
                form="timed_out" if isinstance(cause, RunTimeout) else "defect",
                error_type=type(cause).__name__,
                message=_text(cause, secrets),
                traceback=traceback_text(cause, secrets)[-MAX_TRACEBACK_CHARACTERS:],
            )
        case Halted(signal):
            return FailureRecord(
                form="defect",
                error_type="Halted",
                message=scrubbed(f"halted with a signal that no job knows: {excerpt(signal)}", secrets),
            )


def typed_error(
    record: FailureRecord, errors: Codec[E] | None, known: Callable[[Opened[E]], E] = _value_of
) -> E | Defect:
    """Return the recorded typed error, or a ``Defect`` if its type was not declared.

    Args:
        record: the record.
        errors: the codec for the definition's typed errors.
        known: returns an error that was opened.
    """
    if record.data is not None and errors is not None:
        try:
            return known(errors.open(record.data.encode()))
        except InvalidInput:
            pass
    return Defect(record.error_type, record.message, record.traceback)


def error_for_hook(exit_: Failure[Any] | Raised | Halted, record: FailureRecord) -> object:
    """Return the error for ``on_error``: the typed error itself, or a ``Defect``."""
    if isinstance(exit_, Failure):
        return exit_.failure()
    return Defect(record.error_type, record.message, record.traceback)


def refusal(exit_: Failure[Any] | Raised | Halted, record: FailureRecord) -> HookFailed:
    """Return the error that the caller of a failed event handler receives."""
    if isinstance(exit_, Failure):
        return Rejected(exit_.failure())
    if isinstance(exit_, Raised) and isinstance(exit_.cause, RunTimeout):
        return exit_.cause
    return HookRaised(record.error_type, record.message, record.traceback or "")


def traceback_text(cause: BaseException, secrets: frozenset[str]) -> str:
    """Return an exception's formatted traceback, without secrets.

    Args:
        cause: the exception.
        secrets: the secrets that the program had.
    """
    text = "".join(traceback.format_exception(cause))
    # All causes and group members: the traceback prints each of them, with the values of its marked fields.
    for each in _chain(cause):
        if shown_fields(type(each)) is not None:
            text = text.replace(_plain_text(each), excerpt(each))
    return _storable(scrubbed(text, secrets))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception, its causes, and exception group members."""
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += cast("tuple[BaseException, ...]", each.exceptions)


def _text(error: object, secrets: frozenset[str]) -> str:
    shown = excerpt(error, MAX_MESSAGE_CHARACTERS) if shown_fields(type(error)) is not None else _plain_text(error)
    return _storable(scrubbed(shown, secrets))[:MAX_MESSAGE_CHARACTERS]


def _storable(text: str) -> str:
    """Escape surrogate halves, such as undecodable bytes in a file name, which no store can write."""
    # A store that refuses the text would fail the commit that records the failure, and the run would be repeated
    # without end.
    return text.encode("utf-8", "backslashreplace").decode()


def _plain_text(error: object) -> str:
    try:
        return str(error) if isinstance(error, BaseException) else repr(error)
    except BaseException as broken:  # noqa: BLE001 - a user's __repr__ must not hide the failure
        return f"<{type(error).__name__}, whose text raised {type(broken).__name__}>"


def _encoded(error: object, errors: Codec[Any] | None, encode: Callable[[Codec[Any], Any], bytes]) -> str | None:
    if errors is None:
        return None
    try:
        return encode(errors, error).decode()
    except InvalidInput:
        return None
