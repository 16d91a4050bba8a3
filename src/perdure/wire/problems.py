"""Errors as problem details (RFC 9457), and back to the same values."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, get_type_hints

import attrs
import orjson
from cattrs import Converter

from perdure.codecs import Codec
from perdure.values import errors
from perdure.values.errors import AccessDenied, HookRaised, InvalidInput, OutcomeUnknown, PerdureError, Rejected
from perdure.values.excerpt import Excerpt, excerpt
from perdure.values.status import Defect

DOCS: Final = "https://perdure.readthedocs.io/en/latest/reference/errors.html"
"""The page that a problem's ``type`` refers to. The fragment is the ``code``."""

MEDIA_TYPE: Final = "application/problem+json"

STATUS: Final[Mapping[type[PerdureError], int]] = {
    errors.InvalidId: 422,
    errors.InvalidArgument: 422,
    errors.InvalidInput: 422,
    errors.UnknownJob: 404,
    errors.UnknownLimit: 404,
    errors.UnknownAction: 404,
    errors.IdempotencyConflict: 409,
    errors.StoredResultUnreadable: 409,
    errors.AnswerNotKept: 409,
    errors.Overloaded: 503,
    errors.InstanceParked: 409,
    errors.Undecodable: 409,
    errors.SignalRefused: 409,
    errors.ForkRefused: 409,
    errors.UpdateRefused: 409,
    errors.MetricsDisabled: 404,
    errors.EngineClosed: 503,
    errors.ServerUnreachable: 503,
    errors.AccessDenied: 403,
    errors.Rejected: 409,
    errors.HookRaised: 500,
    errors.RunTimeout: 504,
    errors.OutcomeUnknown: 500,
    errors.Conflict: 409,
    errors.StoreUnavailable: 503,
    errors.StoreLocked: 503,
    errors.StoreMissing: 503,
    errors.OwnershipLost: 503,
    errors.StoreTooNew: 503,
    errors.StoreCorrupt: 500,
    errors.BackupFailed: 409,
    errors.CopyFailed: 409,
}
"""The HTTP status for each error that a call returns."""


def code_of(error: type[PerdureError]) -> str:
    """Return an error class's stable code.

    >>> code_of(errors.InvalidInput)
    'invalid_input'
    """
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in error.__name__)[1:]


BY_CODE: Final[Mapping[str, type[PerdureError]]] = {code_of(cls): cls for cls in STATUS}
"""Each code's class."""

_converter: Final = Converter(detailed_validation=False)
_converter.register_structure_hook_func(lambda wanted: wanted is object, lambda value, _: Excerpt(value))
"""Rebuilds errors. A field with type ``object``, such as `InvalidArgument.got`, is the value's excerpt."""


def problem_of(error: PerdureError, typed: Codec[Any] | None = None, *, traceback: bool = True) -> dict[str, Any]:
    """Describe an error.

    Args:
        error: a call's error.
        typed: the codec for the job's typed errors. Without it, ``Rejected.error`` is its text.
        traceback: whether a ``HookRaised`` includes its traceback.

    Returns:
        The problem's members: ``type``, ``title``, ``status``, ``detail``, ``code``, and the error's own fields.
    """
    cls = type(error)
    code = code_of(cls)
    return {
        "type": f"{DOCS}#{code.replace('_', '-')}",
        "title": _title(cls),
        "status": status_of(error),
        "detail": str(error),
        "code": code,
        **_fields(error, typed, traceback=traceback),
    }


def status_of(error: PerdureError) -> int:
    """Return an error's HTTP status. 401 requests a token, or another one."""
    if isinstance(error, AccessDenied) and error.cause in {"no_token", "wrong_token"}:
        return 401
    # By the exact class: a subclass is another error with a code of its own.
    return STATUS.get(type(error), 500)


def _title(cls: type[PerdureError]) -> str:
    return (cls.__doc__ or cls.__name__).partition(".")[0].replace("\n", " ")


def _fields(error: PerdureError, typed: Codec[Any] | None, *, traceback: bool) -> dict[str, Any]:
    if isinstance(error, Rejected):
        rejected: Rejected[Any] = error  # pyright: ignore[reportUnknownVariableType] - of any type
        return _rejected(rejected.error, typed)
    own = {name: getattr(error, name) for name in _names(type(error))}
    if "got" in own:
        # The caller's own value may have any type and size, and need not be JSON.
        own["got"] = excerpt(own["got"])
    if isinstance(error, HookRaised) and not traceback:
        own["traceback"] = ""
    return own


def _rejected(error: object, typed: Codec[Any] | None) -> dict[str, Any]:
    if typed is not None:
        try:
            encoded = typed.encode(error)
        except InvalidInput:
            pass
        else:
            # Both forms: the client needs the error itself, and a proxy or a log may show only the other one.
            shown = {"shown_error": orjson.loads(typed.redact(encoded))} if typed.secret else {}
            return {"error": orjson.loads(encoded), "error_type": type(error).__name__, **shown}
    return {"undeclared_error": {"error_type": type(error).__name__, "message": excerpt(error)}}


def error_of(problem: Mapping[str, Any], typed: Codec[Any] | None = None) -> PerdureError:
    """Rebuild the error that a problem describes.

    Args:
        problem: a problem's members.
        typed: the codec for the job's typed errors. Without it, ``Rejected.error`` is a `Defect` whose message is its
            JSON without secrets.

    Returns:
        The error. ``OutcomeUnknown`` for a code that this version does not know, or fields that it cannot read.
    """
    try:
        known = _rebuilt(problem, typed)
    # A server of another version, or a proxy, may answer anything. An answer not understood may have been applied: it
    # is an unknown outcome.
    except Exception:  # noqa: BLE001 - of a server of another version, or of a proxy
        known = None
    if known is not None:
        return known
    # Refused before it was handled, whatever the code says: the outcome is not in doubt.
    if problem.get("status") in {401, 403}:
        return AccessDenied("call", "wrong_token", str(problem.get("detail", "")))
    return OutcomeUnknown(f"the server answered {excerpt(problem)}")


def _rebuilt(problem: Mapping[str, Any], typed: Codec[Any] | None) -> PerdureError | None:
    cls = BY_CODE.get(str(problem.get("code")))
    if cls is None:
        return None
    if cls is Rejected:
        return Rejected(_rejection(problem, typed))
    types = get_type_hints(cls)  # structuring the class itself would write resolved types into its attrs fields
    # By name, so that a newer server may send more members.
    return cls(**{name: _converter.structure(problem[name], types[name]) for name in _names(cls)})


def _names(cls: type[PerdureError]) -> tuple[str, ...]:
    declared: Any = cls  # every error is an attrs class
    return tuple(field.name for field in attrs.fields(declared))


def _rejection(problem: Mapping[str, Any], typed: Codec[Any] | None) -> object:
    if "undeclared_error" in problem:
        return Defect(**problem["undeclared_error"])
    if typed is not None:
        # The request was rejected, also if this code does not know the error's class: the outcome is known.
        with suppress(InvalidInput):  # of a class or a form that this code does not know
            return typed.open(orjson.dumps(problem["error"])).value
    shown = problem.get("shown_error", problem["error"])
    return Defect(str(problem.get("error_type", "undeclared")), orjson.dumps(shown).decode())
