"""Sets the state version of new instances, for all kinds of jobs."""

from __future__ import annotations

import attrs

from perdure.jobs.step import Commit, Execute, Mark, Step
from perdure.values.transition import Put, Transition

FIRST_VERSION = 1
"""The version of an instance without a set version."""


def new_instance(step: Step, state_version: int) -> Step:
    """Set the version of the state in which a new instance is written.

    Args:
        step: the decision for an address without an instance.
        state_version: the version that the definition writes.
    """
    if state_version == FIRST_VERSION:
        return step
    match step:
        case Commit(transition, result):
            return Commit(_stamped(transition, state_version), result)
        case Mark():
            return attrs.evolve(step, transition=_stamped(step.transition, state_version))
        case Execute(instance=instance, claiming=claiming):
            stamped = instance.changed(state_version=state_version)
            return attrs.evolve(
                step, instance=stamped, claiming=None if claiming is None else _stamped(claiming, state_version)
            )
        case _:
            return step


def _stamped(transition: Transition, state_version: int) -> Transition:
    if not isinstance(transition.write, Put):
        return transition
    return attrs.evolve(transition, write=Put(transition.write.instance.changed(state_version=state_version)))
