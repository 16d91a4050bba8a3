"""Decodes what is stored of an instance."""

from __future__ import annotations

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.recovery import claimed_command
from perdure.values.errors import InvalidInput
from perdure.values.instance import Instance


def visible_text(job: AnyDefinition, instance: Instance) -> str | None:
    """Return the encoded state for ``get_state``, with all that newer code wrote; None while there is none.

    Raises:
        InvalidInput: it is not JSON, this code cannot upgrade it, or its upcasters killed the process.
    """
    claim = instance.event_claim
    if claim is not None and claim.cause == "upgrade" and instance.suspension == "recovery_exhausted":
        raise InvalidInput(job.plan.state.what, ("$: the process died each time that the upcasters ran on it",))
    text = job.visible_text(job.present(instance))
    if text is not None:
        job.plan.state.check_json(text.encode())
    return text


def shown_text(job: AnyDefinition, instance: Instance) -> str | None:
    """Return the encoded state without secrets, and without the members that only newer code knows.

    Raises:
        InvalidInput: this code cannot read it.
    """
    text = visible_text(job, instance)
    if text is None:
        return None
    job.plan.state.open(text.encode())
    return job.plan.state.redact(text.encode()).decode()


def check_readable(job: AnyDefinition, instance: Instance) -> Instance:
    """Decode every state of an instance, the data of its kind, and the inputs of its claims.

    Args:
        job: its definition.
        instance: the stored instance.

    Returns:
        The instance in the present version of its state.

    Raises:
        InvalidInput: this code cannot decode it.
    """
    job.check_data(instance)
    present = job.present(instance)

    def decoded(encoded: str) -> str:
        job.plan.state.open(encoded.encode())
        return encoded

    job.map_states(present, decoded)
    for claim in (present.claim, present.event_claim):
        if claim is None or claim.cause == "upgrade":
            continue
        claimed_command(job, claim)
        if job.state_of_run(present, claim):  # otherwise it is the first event of the instance
            job.decode_state(present, claim)
    return present
