"""Checks that this code can decode everything that is stored of an instance."""

from __future__ import annotations

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.recovery import claimed_command
from perdure.values.instance import Instance


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
        job.plan.state.decode(encoded.encode())
        return encoded

    job.map_states(present, decoded)
    for claim in (present.claim, present.event_claim):
        if claim is not None:
            claimed_command(job, claim)
            job.decode_state(present, claim)
    return present
