"""The answer to a request whose hook raised before it returned a program."""

from __future__ import annotations

from returns.result import Failure

from perdure.engine.turn_outcome import TurnAnswered
from perdure.engine.unstored import is_interrupt
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.failures import record_failure
from perdure.jobs.redaction import secrets_of_instance, secrets_of_request
from perdure.jobs.request import Request
from perdure.programs import Raised
from perdure.runtime.record import LogRecord, Runtime
from perdure.values.address import Address
from perdure.values.errors import EngineClosed, HookRaised
from perdure.values.excerpt import excerpt
from perdure.values.instance import Instance
from perdure.values.secret import scrubbed


def answer_of_hook(
    runtime: Runtime,
    job: AnyDefinition,
    address: Address,
    request: Request,
    instance: Instance | None,
    broken: Raised,
) -> TurnAnswered:
    """Log the exception without secrets, and return the answer to the caller.

    Args:
        runtime: writes the log.
        job: the definition of the hook.
        address: the instance.
        request: the request.
        instance: the stored instance.
        broken: the exception.
    """
    if is_interrupt(broken):
        return TurnAnswered(Failure(EngineClosed()))
    secrets = secrets_of_request(job, request) | secrets_of_instance(job, instance)
    fields = {"instance": str(address), "error": scrubbed(excerpt(broken.cause), secrets)}
    runtime.log(LogRecord("error", "hook raised before returning a program", fields))
    record = record_failure(broken, None, secrets=secrets)
    return TurnAnswered(Failure(HookRaised(record.error_type, record.message, record.traceback or "")))
