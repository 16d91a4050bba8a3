"""One request of a client, passed to the engine: its answer or its problem as a line of JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from returns.result import Result, Success

from perdure.client.by_name import builder
from perdure.client.local_gateway import LocalGateway
from perdure.jobs.call import Call, result_of
from perdure.jobs.definition import AnyDefinition
from perdure.server.tokens import Scope
from perdure.values.errors import AccessDenied, PerdureError, UnknownJob
from perdure.wire.envelope import READS, Envelope, answered, refused
from perdure.wire.moment import Moment, encode_moment
from perdure.wire.problems import problem_of
from perdure.wire.records import json_of, without_tracebacks

Encode: TypeAlias = Callable[[Any], bytes]

NULL: Final = b"null"

_STATES: Final = frozenset({"get_state", "shown_state"})
"""The reads whose answer is JSON of the job's own type."""

OPERATIONS: Final = frozenset({"pause", "resume", "terminate"})
"""The actions of an instance that are an operator's."""


async def perform(gateway: LocalGateway, envelope: Envelope, scopes: frozenset[str]) -> bytes:
    """Perform one request of a batch.

    Args:
        gateway: reaches the engine.
        envelope: the request.
        scopes: of the client's token.

    Returns:
        The line of the answer.
    """
    job = gateway.definitions.get((envelope.kind, envelope.job))
    problem = _refusal(envelope, scopes)
    if job is None or problem is not None:
        unknown = UnknownJob(envelope.kind, envelope.job, served(gateway))
        return refused(envelope.number, problem_of(problem or unknown))
    call, encode = _call(gateway, job, envelope)
    result: Result[Any, PerdureError] = await result_of(call)
    if isinstance(result, Success):
        encoded = encode(result.unwrap())
        return answered(envelope.number, encoded if envelope.action in _STATES else shown(encoded, scopes))
    return refused(envelope.number, problem_of(result.failure(), job.plan.errors, traceback=may_see_tracebacks(scopes)))


def may_see_tracebacks(scopes: frozenset[str]) -> bool:
    """Return whether a client may read the tracebacks of a job's defects: they show paths and code."""
    return "operate" in scopes


def shown(encoded: bytes, scopes: frozenset[str]) -> bytes:
    """Return an answer as a client may see it: without tracebacks, unless it is an operator."""
    return encoded if may_see_tracebacks(scopes) else without_tracebacks(encoded)


def keyed_explanation_denied(key: str | None, scopes: frozenset[str]) -> AccessDenied | None:
    """Return the error for a client that may not send requests and explains one with an idempotency key.

    The explanation of a repeat is the stored answer of the first request, which another client may have sent.
    """
    return None if key is None else denied("call", scopes)


def served(gateway: LocalGateway) -> tuple[str, ...]:
    """Return the names of the served jobs, printed ``kind:name``."""
    return tuple(f"{kind}:{name}" for kind, name in gateway.definitions)


def scope_of(action: str) -> Scope:
    """Return the scope that a request to an instance needs: ``operate`` to pause, resume or end it, else ``call``."""
    return "operate" if action in OPERATIONS else "call"


def denied(scope: str, scopes: frozenset[str]) -> AccessDenied | None:
    """Return the error for a client without this scope, or None."""
    if scope in scopes:
        return None
    return AccessDenied(scope, "small_scope", f"the token has {', '.join(sorted(scopes)) or 'no scope'}; use another")


def _refusal(envelope: Envelope, scopes: frozenset[str]) -> PerdureError | None:
    refusal = denied("read" if envelope.action in READS else scope_of(envelope.action), scopes)
    if refusal is None and envelope.action in READS:
        refusal = keyed_explanation_denied(envelope.key, scopes)
    return refusal


def _encoded(text: str | None) -> bytes:
    return NULL if text is None else text.encode()


def _call(gateway: LocalGateway, job: AnyDefinition, envelope: Envelope) -> tuple[Call[Any, Any], Encode]:
    match envelope.action:
        case "status" | "shown_outcome" | "steps":
            reads = {"status": gateway.status, "shown_outcome": gateway.shown_outcome, "steps": gateway.steps}
            return reads[envelope.action](job, envelope.id), json_of
        case "get_state":
            return gateway.state_text(job, envelope.id), _encoded
        case "shown_state":
            return gateway.shown_state(job, envelope.id), _encoded
        case "load":
            moment: Call[Moment, Any] = gateway.moment(job, envelope.id, envelope.key)
            return moment, encode_moment
        case action:
            build = builder(
                job,
                action,
                envelope.payload.decode(),
                envelope.key,
                envelope.wait_for,
                interrupt=envelope.interrupt,
                trace=envelope.trace,
                bare=envelope.bare.decode(),
            )
            return gateway.request(job, envelope.id, build), job.plan.answers.encode
