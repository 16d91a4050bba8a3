"""Idempotency keys: a repeat returns the first result, or runs as a repeat."""

from __future__ import annotations

from typing import Any, Protocol

import attrs

from perdure.jobs.definition import Definition
from perdure.jobs.request import Request
from perdure.jobs.step import Commit
from perdure.jobs.transitions import EventRecorder, answered, refuse, reply
from perdure.values.address import Address, is_text
from perdure.values.errors import (
    AnswerNotKept,
    IdempotencyConflict,
    InvalidArgument,
    InvalidInput,
    Overloaded,
    StoredResultUnreadable,
)
from perdure.values.event import JobKeyForgotten
from perdure.values.limits import Limits
from perdure.values.secret import Unreadable
from perdure.values.transition import Loaded, NewKeys, Remembered, Transition
from perdure.values.turn_inputs import TurnInputs

MAX_KEY_CHARACTERS = 512


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
        is_repeat = job.is_repeat(remembered.fingerprint, request.action, request.payload)
        # Checked for failed attempts as well: the key belongs to the first request that used it.
        if remembered.action != request.action or not is_repeat:
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


class ForgetKey:
    """Forget the request's key, so that the request that used it can be made again. Only `forget_key` sends it."""


def forget(address: Address, loaded: Loaded, key: str, inputs: TurnInputs) -> Commit:
    """Clear a key, and record which request it had answered.

    Args:
        address: the instance, which may be absent: keys outlive it.
        loaded: the stored instance, and what the key remembers.
        key: the key.
        inputs: the clock and the ids.
    """
    row, remembered = loaded.instance, loaded.remembered
    # The run that the key began will store its answer: forgotten now, the key would be stored again afterwards.
    if row is not None and key in (row.claim and row.claim.key, row.event_claim and row.event_claim.key):
        return reply(address, "running")
    if remembered is None:
        return reply(address, "not_found")
    log = EventRecorder(inputs, address, 0 if row is None else row.run_count)
    event = log.add(JobKeyForgotten, key=key, action=remembered.action)
    # Expired instead of deleted: every store replaces a key that it has, and the next pruning deletes it.
    gone = attrs.evolve(remembered, fingerprint="", answer="", expires_ms=0, failures=0)
    return answered(Transition(address=address, remember=(gone,), events=(event,)), "forgotten")


class Moment(Protocol):
    """The inputs that decide about a key."""

    @property
    def now_ms(self) -> int:
        """The clock."""
        ...

    @property
    def limits(self) -> Limits:
        """The engine's limits."""
        ...


def condition_of(request: Request) -> NewKeys | None:
    """Return the condition for deciding a request whose key was not looked up. None if it needs none."""
    key, at_ms = request.idempotency_key, request.unread_key_ms
    return None if key is None or at_ms is None else NewKeys((key,), at_ms)


def remember(
    job: Definition[Any, Any, Any], key: str, action: str, digest: str, answer: object, inputs: Moment
) -> Remembered:
    """Store a result for the engine's ``idempotency_ttl``."""
    # At the end of a run the time begins again: a repeat after a long run must still be recognized.
    return Remembered(
        key=key,
        action=action,
        fingerprint=digest,
        answer=job.plan.answers.encode(answer).decode(),
        expires_ms=inputs.now_ms + inputs.limits.idempotency_ttl_ms,
        full_answers=inputs.limits.answers_per_address,
    )


def remember_failure(
    job: Definition[Any, Any, Any], key: str, request: Request, failures: int, inputs: TurnInputs
) -> Remembered:
    """Store that a request's attempts failed, so that its repeat is marked as one."""
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
    """Check an idempotency key: None, or text with 1 to 512 characters that UTF-8 can encode.

    Raises:
        InvalidArgument: the value is not a valid key.
    """
    if value is None or is_text(value, MAX_KEY_CHARACTERS):
        return
    expected = f"text of 1 to {MAX_KEY_CHARACTERS} characters, without lone surrogates, or None"
    raise InvalidArgument("idempotency_key", value, expected)
