"""Upgrades the stored state of an instance under a claim of its own, while the code of jobs is suspect."""

from __future__ import annotations

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.readable import check_readable
from perdure.jobs.request import Request, TakeUp
from perdure.jobs.step import Commit, Mark
from perdure.jobs.suspension import leave
from perdure.jobs.writes import answered, failed, put, reply, stored
from perdure.values.errors import InvalidInput
from perdure.values.instance import Claim, Instance
from perdure.values.turn_inputs import TurnInputs


def upgrade_first(
    job: AnyDefinition, instance: Instance | None, request: Request, inputs: TurnInputs
) -> Commit | Mark | None:
    """Claim the upgrade of a stored state before its upcasters run; None if it needs no claim.

    Only the runs of an instance that is left already can be in the place of the claim. A start does not decode such an
    instance.
    """
    if inputs.code == "trusted" or instance is None or instance.state_version >= job.plan.state_version:
        return None
    if instance.event_claim is not None:
        return reply(instance.address, None) if isinstance(request.command, TakeUp) else None
    claim = Claim(owner=inputs.epoch, cause="upgrade", run_id=inputs.id(), claimed_ms=inputs.now_ms)
    return Mark(transition=put(instance, inputs.now_ms, event_claim=claim), claim=claim)


def upgrade(job: AnyDefinition, marked: Instance, inputs: TurnInputs) -> Commit:
    """Run the upcasters, write the state in the present version, and remove the claim.

    Args:
        job: the definition.
        marked: the instance as it is stored, with the claim.
        inputs: the clock and the ids.

    Returns:
        A commit that answers None, after which the request is decided again; or that leaves it to other code.
    """
    instance = marked.changed(event_claim=None)
    try:
        present = job.present(instance) if instance.left is None else check_readable(job, instance)
    except InvalidInput as problem:
        refused = leave(job, instance, problem, inputs)
        written = refused.transition if stored(refused.transition) else put(instance, inputs.now_ms)
        return failed(written, refused.result.failure())
    return answered(put(present, inputs.now_ms), None)
