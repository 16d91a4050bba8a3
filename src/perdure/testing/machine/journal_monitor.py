"""Replays the journal of each instance after each of its steps."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from perdure.jobs.definition import AnyDefinition
from perdure.testing.journal.determinism import nondeterminism
from perdure.testing.world import TraceEvent
from perdure.testing.world.trace_event import TransitionCommitted
from perdure.values.address import Address
from perdure.values.transition import KeepInstance, Put, Transition


@attrs.define
class JournalMonitor:
    """Observes a world, and reports programs that do not follow their own journals.

    Attributes:
        job: the definition.
        note: called with each problem.
    """

    job: AnyDefinition
    note: Callable[[str], None]
    _rows: dict[Address, list[str]] = attrs.Factory(dict[Address, list[str]])

    def watch(self, moment: TraceEvent) -> None:
        """Record an event of the world."""
        if isinstance(moment.what, TransitionCommitted) and self.job.keeps_journal == "yes":
            self._committed(moment.what.transition)

    def _committed(self, transition: Transition) -> None:
        address, write, change = transition.address, transition.write, transition.journal
        if (address.kind, address.name) != (self.job.kind, self.job.name) or isinstance(write, KeepInstance):
            return
        if not isinstance(write, Put):
            self._rows.pop(address, None)
            return
        rows = self._rows.setdefault(address, [])
        if change is None:
            return
        if change.earlier == "cut":
            rows.clear()
        rows += change.bodies
        if len(rows) != write.instance.journal_length:
            del self._rows[address]  # a process died with a commit in progress that was written
            return
        problem = nondeterminism(self.job, write.instance, rows)
        if problem is not None:
            self.note(f"{address}: {problem}")
