"""Idempotency keys, and run ids: a repeat returns the first result, or runs under the id of the first run."""

from __future__ import annotations

from typing import Any, Final

import orjson

from perdure.jobs.definition import Definition
from perdure.jobs.request import Request
from perdure.jobs.step import Commit
from perdure.jobs.transitions import refuse, reply
from perdure.values.address import Address, is_text
from perdure.values.errors import (
    AnswerNotKept,
    IdempotencyConflict,
    InvalidArgument,
    InvalidInput,
    Overloaded,
    StoredResultUnreadable,
)
from perdure.values.secret import Unreadable
from perdure.values.transition import Loaded, Remembered
from perdure.values.turn_inputs import TurnInputs, printed_id

MAX_KEY_CHARACTERS = 512

_FREE_BITS: Final = ~((0xF << 76) | (0x3 << 62))
_VERSION_8: Final = (0x8 << 76) | (0x2 << 62)
"""The bits of a UUID that name its version and variant. Version 8 has no other rules (RFC 9562)."""


def run_id_of(address: Address, request: Request, inputs: TurnInputs) -> str:
    """Return the id of the run that a request begins.

    Each repeat of a keyed request, and each delivery of a message, has the id of the first, whatever ended that: a
    failure, a death of the process, the end of the instance, a store that was restored from a backup. It is computed
    from what names the request, and so needs no row. Any other request gets a new id.

    Args:
        address: the instance.
        request: the request.
        inputs: the ids.
    """
    # Computed and not drawn: the id must be the same after a restore from a backup, in which no row of the first
    # delivery is left.
    if request.inbound is not None:
        inbound = request.inbound
        return _computed_id("message", str(address), str(inbound.sender), inbound.message_id, inbound.sent_ms)
    if request.idempotency_key is not None:
        # With the address: clients reuse keys, such as an order number, for different instances.
        return _computed_id("key", str(address), request.action, request.idempotency_key)
    return inputs.id()


def _computed_id(*parts: str | int) -> str:
    from hashlib import blake2b  # noqa: PLC0415 - loads OpenSSL, which defining jobs does not need

    digest = int.from_bytes(blake2b(orjson.dumps(parts), digest_size=16).digest())
    # A change here gives keyed runs that are in progress during a deployment a second id: services would not recognize
    # their repeats.
    return printed_id(digest & _FREE_BITS | _VERSION_8)


def replay(
    job: Definition[Any, Any, Any], address: Address, loaded: Loaded, request: Request, key: str, inputs: TurnInputs
) -> Commit | None:
    """Answer a keyed request from the stored result.

    None if it runs: it is new and there is room to store its result, or its earlier attempts failed.
    """
    remembered = loaded.remembered
    if remembered is not None:
        # Refused, and not run again: the key was applied, only its answer cannot be decrypted.
        if isinstance(remembered.fingerprint, Unreadable):
            return refuse(address, StoredResultUnreadable(str(address), key, (str(remembered.fingerprint),)))
        digest = job.fingerprint(request.action, request.payload)
        # Checked for failed attempts as well: the key belongs to the first request that used it.
        if (remembered.action, remembered.fingerprint) != (request.action, digest):
            return refuse(address, IdempotencyConflict(key, remembered.action, request.action))
        # A failed request did not change the instance, and its repeat runs again.
        return None if remembered.failures else _repeated(job, address, key, remembered)
    # Refused before the run: without a place for the key, a repeat would be applied a second time.
    if loaded.keys_held >= inputs.limits.keys_per_address:
        return refuse(address, Overloaded(f"idempotency keys of {address}", inputs.limits.keys_per_address))
    return None


def _repeated(job: Definition[Any, Any, Any], address: Address, key: str, remembered: Remembered) -> Commit:
    # The store drops old answers before it drops keys: the repeat must not run, although its answer is gone.
    if not remembered.answer:
        return refuse(address, AnswerNotKept(str(address), key, remembered.action))
    try:
        return reply(address, job.plan.answers.decode(remembered.answer.encode()))
    except InvalidInput as problem:
        return refuse(address, StoredResultUnreadable(str(address), key, problem.problems))


def remember(
    job: Definition[Any, Any, Any], key: str, action: str, payload: str, answer: object, inputs: TurnInputs
) -> Remembered:
    """Store a result for the engine's ``idempotency_ttl``."""
    # At the end of a run the time begins again: a repeat after a long run must still be recognized.
    return Remembered(
        key=key,
        action=action,
        fingerprint=job.fingerprint(action, payload),
        answer=job.plan.answers.encode(answer).decode(),
        expires_ms=inputs.now_ms + inputs.limits.idempotency_ttl_ms,
        full_answers=inputs.limits.answers_per_address,
    )


def remember_failure(
    job: Definition[Any, Any, Any], key: str, request: Request, failures: int, inputs: TurnInputs
) -> Remembered:
    """Store that attempts of a request failed, so that its repeat is marked as one."""
    return Remembered(
        key=key,
        action=request.action,
        fingerprint=job.fingerprint(request.action, request.payload),
        answer="",
        expires_ms=inputs.now_ms + inputs.limits.idempotency_ttl_ms,
        failures=failures,
        full_answers=inputs.limits.answers_per_address,
    )


def check_key(value: object) -> None:
    """Check an idempotency key: None, or text of 1 to 512 characters that UTF-8 can encode.

    Raises:
        InvalidArgument: the value is not a valid key.
    """
    if value is None or is_text(value, MAX_KEY_CHARACTERS):
        return
    expected = f"text of 1 to {MAX_KEY_CHARACTERS} characters, without lone surrogates, or None"
    raise InvalidArgument("idempotency_key", value, expected)
