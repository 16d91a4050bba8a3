"""The version of a new instance: stamped in one place, so that no kind of job need think of it."""

from __future__ import annotations

import attrs

from perdure.jobs.step import Commit, Execute, Step
from perdure.values.transition import Put, Transition

FIRST_VERSION = 1
"""What an instance says of itself that nobody stamped."""


def new_instance(step: Step, state_version: int) -> Step:
    """Say which version of the state a new instance is written in.

    Args:
        step: what was decided for an address where nothing is stored.
        state_version: the version that the definition writes.
    """
    if state_version == FIRST_VERSION:
        return step
    match step:
        case Commit(transition, result):
            return Commit(_stamped(transition, state_version), result)
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
