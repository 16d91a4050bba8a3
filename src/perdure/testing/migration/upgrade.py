"""The checks of one stored row that the current code reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import attrs

from perdure.codecs.schema import LONGEST
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import ALARM, RECOVER
from perdure.jobs.step import Commit, Execute, Mark
from perdure.jobs.suspension import check_readable
from perdure.jobs.transitions import stored
from perdure.jobs.turn import begin, begin_marked
from perdure.testing.migration.loss import MigrationLosesData
from perdure.testing.migration.rows import facts_at
from perdure.values.errors import InvalidInput
from perdure.values.excerpt import excerpt
from perdure.values.instance import Instance
from perdure.values.transition import Loaded, Put

_OTHER_FIELDS = tuple(
    field.name for field in attrs.fields(Instance) if field.name not in ("state", "state_version", "data")
)

Law: TypeAlias = Callable[[Any], object]
"""A function of a state."""


@attrs.frozen(kw_only=True)
class Upgrade:
    """Checks rows of one job.

    Attributes:
        job: the definition.
        invariants: conditions for every state that the code reads.
        preserved: functions whose results must be equal for the stored and the decoded state.
    """

    job: AnyDefinition
    invariants: Sequence[Law]
    preserved: Sequence[Law]

    def check(self, row: Instance, label: str) -> None:
        """Read a row, and check that no data of it is lost.

        Raises:
            MigrationLosesData: data is lost.
        """
        states = self._states(row)
        lost = _Losing(f"{row.address.kind}:{row.address.name}", row.state_version, label, states)
        try:
            present = check_readable(self.job, row)
        except InvalidInput as problem:
            raise lost.by(f"it cannot be read: {problem}") from problem
        self._check_row(row, present, lost)
        for encoded, read in zip(self._values(row), self._values(present), strict=True):
            self._check_state(encoded, read, lost)
        self._check_turn(row, lost)

    def placed(self, encoded: str, version: int, row: Instance, label: str) -> Instance:
        """Replace every state of a row by a state of an older version.

        Raises:
            MigrationLosesData: the kind of job changes more than states when it maps them.
        """
        stored = self.job.map_states(row, lambda _: encoded).changed(state_version=version)
        changed = _changed(row, stored)
        if changed:
            lost = _Losing(f"{row.address.kind}:{row.address.name}", version, label, (encoded,))
            raise lost.by(f"map_states of the kind changed {', '.join(changed)}; it may change encoded states only")
        return stored

    def _check_row(self, row: Instance, present: Instance, lost: _Losing) -> None:
        """Check that only states change, and the version."""
        changed = _changed(row, present)
        if self._data_without_states(row) != self._data_without_states(present):
            changed.append("data")
        if changed:
            raise lost.by(f"the upgrade changed {', '.join(changed)}; it may change encoded states only")
        if self.job.present(row) != present:
            raise lost.by("upgrading it twice gives two results; an upcaster must be a pure function")

    def _check_state(self, stored: object, read: object, lost: _Losing) -> None:
        lost = attrs.evolve(lost, read=excerpt(read, LONGEST))
        for law in self.invariants:
            if _fails(law, read):
                raise lost.by(f"the invariant {_name(law)} does not hold")
        for law in self.preserved:
            before, after = law(stored), law(read)
            if before != after:
                raise lost.by(f"{_name(law)} was {before!r} and is {after!r}")

    def _check_turn(self, row: Instance, lost: _Losing) -> None:
        """Start the next turn of the row: an instance with an alarm or a claim must continue."""
        claimed = row.claim is not None or row.event_claim is not None
        if (row.due_ms is None and not claimed) or row.suspension is not None:
            return
        request = RECOVER if claimed else ALARM
        facts = facts_at(row.due_ms or row.updated_ms)
        step = begin(self.job, row.address, Loaded(instance=row), request, facts)
        marked = stored(step.transition) if isinstance(step, Mark) else None
        if isinstance(step, Mark) and marked is not None:
            step = begin_marked(self.job, step, marked, request, facts)
        if isinstance(step, Execute) and step.instance.state_version == self.job.plan.state_version:
            return
        if isinstance(step, Commit) and isinstance(step.transition.write, Put):
            left = step.transition.write.instance
            if left.suspension is None and (left.due_ms is not None or self.job.may_rest(left)):
                return
        raise lost.by("it was not finished, and its next turn neither runs it nor leaves it an alarm")

    def _states(self, row: Instance) -> tuple[str, ...]:
        found: list[str] = []

        def noted(encoded: str) -> str:
            found.append(encoded)
            return encoded

        self.job.map_states(row, noted)
        return tuple(found)

    def _values(self, row: Instance) -> tuple[object, ...]:
        upgrades = self.job.plan.upgrades
        codecs = {step.version: step.codec for step in upgrades.steps} | {upgrades.version: upgrades.present}
        return tuple(codecs[row.state_version].decode(state.encode()) for state in self._states(row))

    def _data_without_states(self, row: Instance) -> str:
        return self.job.map_states(row, lambda _: "null").data


@attrs.frozen
class _Losing:
    """The known parts of an error before its problem is known."""

    job: str
    version: int
    row: str
    states: tuple[str, ...]
    read: str | None = None

    def by(self, problem: str) -> MigrationLosesData:
        stored = f"version {self.version}: {', '.join(self.states) or 'no state'}"
        return MigrationLosesData(job=self.job, stored=stored, read=self.read, row=self.row, problem=problem)


def _fails(law: Law, state: object) -> bool:
    """Return whether a law is violated: it returns False, or raises an assertion error."""
    try:
        return law(state) is False
    except AssertionError:
        return True


def _name(law: Law) -> str:
    return getattr(law, "__name__", None) or repr(law)


def _changed(before: Instance, after: Instance) -> list[str]:
    """Return the names of changed fields, other than the states and their version."""
    return [name for name in _OTHER_FIELDS if getattr(before, name) != getattr(after, name)]
