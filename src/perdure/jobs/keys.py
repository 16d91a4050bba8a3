"""Idempotency keys: a repeat returns the first result, and another request with the same key is refused."""

from __future__ import annotations

from typing import Any

from perdure.codecs import fingerprint
from perdure.jobs.definition import Definition
from perdure.jobs.request import Request
from perdure.jobs.step import Commit
from perdure.jobs.writes import refuse, reply
from perdure.values.address import Address, is_text
from perdure.values.errors import IdempotencyConflict, InvalidArgument, InvalidInput, Overloaded, StoredResultUnreadable
from perdure.values.sealed import Unreadable
from perdure.values.transition import Loaded, Remembered
from perdure.values.turn_inputs import TurnInputs

MAX_KEY_CHARACTERS = 512


def replay(
    job: Definition[Any, Any, Any], address: Address, loaded: Loaded, request: Request, key: str, inputs: TurnInputs
) -> Commit | None:
    """Answer a keyed request from the stored result; None if it is new and there is room to store its result."""
    remembered = loaded.remembered
    if remembered is not None:
        if isinstance(remembered.fingerprint, Unreadable):
            return refuse(address, StoredResultUnreadable(str(address), key, (str(remembered.fingerprint),)))
        if (remembered.action, remembered.fingerprint) != (request.action, _fingerprint(request.payload)):
            return refuse(address, IdempotencyConflict(key, remembered.action, request.action))
        return _repeated(job, address, key, remembered)
    if loaded.keys_held >= inputs.limits.keys_per_address:
        return refuse(address, Overloaded(f"idempotency keys of {address}", inputs.limits.keys_per_address))
    return None


def _repeated(job: Definition[Any, Any, Any], address: Address, key: str, remembered: Remembered) -> Commit:
    try:
        return reply(address, job.plan.answers.decode(remembered.answer.encode()))
    except InvalidInput as problem:
        return refuse(address, StoredResultUnreadable(str(address), key, problem.problems))


def remember(
    job: Definition[Any, Any, Any], key: str, action: str, payload: str, answer: object, inputs: TurnInputs
) -> Remembered:
    """Store a result for the engine's ``idempotency_ttl``."""
    return Remembered(
        key=key,
        action=action,
        fingerprint=_fingerprint(payload),
        answer=job.plan.answers.encode(answer).decode(),
        expires_ms=inputs.now_ms + inputs.limits.idempotency_ttl_ms,
    )


def _fingerprint(payload: str) -> str:
    return fingerprint(payload.encode()) if payload else ""


def check_key(value: object) -> None:
    """Check an idempotency key: None, or text of 1 to 512 characters that UTF-8 can encode.

    Raises:
        InvalidArgument: the value is not a valid key.
    """
    if value is None or is_text(value, MAX_KEY_CHARACTERS):
        return
    expected = f"text of 1 to {MAX_KEY_CHARACTERS} characters, without lone surrogates, or None"
    raise InvalidArgument("idempotency_key", value, expected)
