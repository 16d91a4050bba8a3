"""Converts a program's exit to a failure record, and a record back to a typed error."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

from returns.result import Failure

from perdure.codecs import Codec, Opened
from perdure.programs import Halted, Raised
from perdure.values.errors import HookFailed, HookRaised, InvalidInput, Rejected, RunTimeout
from perdure.values.excerpt import excerpt
from perdure.values.failure import MAX_MESSAGE_CHARACTERS, MAX_TRACEBACK_CHARACTERS, Defect, FailureRecord
from perdure.values.secret import scrubbed, shown_fields

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
