"""A job that is accepted for now: its acceptance and the claim of its run as one transition."""

from __future__ import annotations

import attrs

from perdure.jobs.step import Commit, Execute
from perdure.values.instance import Instance
from perdure.values.transition import Put, Transition


def accepted_instance(commit: Commit, now_ms: int) -> Instance | None:
    """Return the instance that a commit writes, if its alarm is due now and nothing of it is in progress."""
    write = commit.transition.write
    if type(write) is not Put:
        return None
    instance = write.instance
    due_ms = instance.due_ms
    if due_ms is None or due_ms > now_ms or instance.pending_retry is not None:
        return None
    return instance if instance.claim is None and instance.event_claim is None else None


def as_found(instance: Instance) -> Instance:
    """Return an instance as its alarm would find it in the store, which numbers new ones."""
    return instance if instance.incarnation else instance.changed(incarnation=1)


def with_claim(commit: Commit, run: Execute) -> Transition | None:
    """Return one transition for the acceptance of a job and the claim of its run; None if they need two.

    It is the acceptance, over the same row and with its key, messages, journal and fate of a message, but it writes the
    claimed instance, whose version is that of one commit, and logs the events of both.

    Args:
        commit: writes the accepted instance.
        run: the decision of its alarm.
    """
    accepted, claiming = commit.transition.write, run.claiming
    if claiming is None or not isinstance(accepted, Put) or not isinstance(claiming.write, Put):
        return None
    if run.claimed != "before_run" or claiming.messages or claiming.remember or claiming.inbound or claiming.journal:
        return None
    before = accepted.instance
    claimed = claiming.write.instance.changed(incarnation=before.incarnation, version=before.version)
    return attrs.evolve(commit.transition, write=Put(claimed), events=commit.transition.events + claiming.events)
