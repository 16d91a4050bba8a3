"""Tests for state migrations: every older version is converted to the current one, and no row loses data.

`check_migrations` draws states in every older version, puts them into rows with every status, and reads these rows with
the current code. The rows are made by the job's own decisions, without an engine and without the user's hooks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs
from hypothesis import given, reject
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from returns.result import Success

from perdure.codecs.migrations import UpgradeStep
from perdure.codecs.schema import LONGEST
from perdure.jobs.definition import AnyDefinition, check_definition
from perdure.jobs.request import ALARM, PAUSE, RECOVER, CommandSpec, Request
from perdure.jobs.run import claim_event
from perdure.jobs.step import Commit, Execute, Mark, Step
from perdure.jobs.suspension import check_readable
from perdure.jobs.transitions import stored
from perdure.jobs.turn import begin, begin_marked, finish
from perdure.programs import Exit, Raised
from perdure.stores.snapshots import read_snapshots
from perdure.testing.typed import NoSample, examples_of, from_type
from perdure.values.errors import DefinitionError, InvalidInput
from perdure.values.excerpt import excerpt, fields_in_line
from perdure.values.instance import Instance
from perdure.values.transition import Loaded, Put, Transition
from perdure.values.turn_inputs import TurnInputs

__all__ = ["MigrationLosesData", "check_migrations"]


@attrs.frozen(str=False, kw_only=True)
class MigrationLosesData(AssertionError):
    """A stored row is not converted correctly to the current version.

    Attributes:
        job: the job, printed ``kind:name``.
        stored: the version and the state as stored.
        read: the state as this code reads it. None where it cannot.
        row: the row: its status, or the snapshot's id.
        problem: the problem, and how to fix it.
    """

    __repr__ = fields_in_line

    job: str
    stored: str
    read: str | None
    row: str
    problem: str

    def __str__(self) -> str:
        read = "not at all" if self.read is None else self.read
        return (
            f"{self.job} loses data when it reads a stored row\n"
            f"  stored:  {self.stored}\n  read:    {read}\n  row:     {self.row}\n  problem: {self.problem}"
        )


START_MS: Final = 1_767_225_600_000
"""The time of the rows: the beginning of 2026."""

HOUR_MS: Final = 3_600_000

MAX_HOOKS: Final = 3
"""Hooks of one turn: the handler, ``on_error``, ``on_idle``."""


def turn_inputs_at(now_ms: int) -> TurnInputs:
    """Return a decision's inputs at an instant."""
    return TurnInputs(now_ms=now_ms, jitter=0.5, id_base=now_ms << 80, epoch=1)


def rows_of(job: AnyDefinition) -> dict[str, Instance]:
    """Return a job's rows, by their labels: ``scheduled``, ``running (alarm)``, ``paused``, and so on.

    Commands that create an instance are decided, and their runs are settled, as an engine would: a run that succeeds
    without a change, one that fails. Then alarms fire, and the instance is paused.

    Returns:
        One row for each label. Empty if no creating command's input can be constructed.
    """
    rows: dict[str, Instance] = {}
    for born in _born(job):
        for row in (born, *_later(job, born)):
            # One row of each kind is enough, and each is checked with each drawn state.
            rows.setdefault(label_of(row), row)
    return rows


def label_of(row: Instance) -> str:
    """Return a row's label, in a word or two."""
    claim, pending_retry = row.claim or row.event_claim, row.pending_retry
    if claim is not None:
        return f"running ({claim.cause})"
    if row.suspension is not None:
        return f"{row.status} ({row.suspension})"
    return f"{row.status} ({pending_retry.cause})" if pending_retry is not None else row.status


def _born(job: AnyDefinition) -> Iterator[Instance]:
    for spec in job.plan.commands.values():
        if spec.absent != "creates":
            continue
        for request in _requests(job, spec):
            yield from _rows(
                job, begin(job, job.address("made-up"), Loaded(), request, turn_inputs_at(START_MS)), START_MS
            )


def _requests(job: AnyDefinition, spec: CommandSpec[Any]) -> Iterator[Request]:
    """Yield a command's requests, one for each member of its input's union."""
    if spec.input is None:
        yield job.parse(spec.name, "")
        return
    try:
        for sample in examples_of(spec.input.form):
            yield job.parse(spec.name, spec.input.encode(sample).decode())
    # An input that cannot be made up is no fault of the migration. Snapshots can have such rows.
    except (NoSample, InvalidInput):
        return


def _later(job: AnyDefinition, row: Instance) -> Iterator[Instance]:
    """Yield a row's next rows without a run: its alarm fires, or it is paused."""
    if row.claim is not None or row.event_claim is not None or row.suspension is not None:
        return
    armed = row if row.due_ms is not None else row.changed(alarm_ms=row.updated_ms + HOUR_MS)
    yield armed
    due_ms = armed.due_ms or START_MS
    yield from _rows(job, begin(job, armed.address, Loaded(instance=armed), ALARM, turn_inputs_at(due_ms)), due_ms)
    pause = Request(command=PAUSE.command(), action=PAUSE.name)
    yield from _rows(job, begin(job, armed.address, Loaded(instance=armed), pause, turn_inputs_at(START_MS)), START_MS)


def _rows(job: AnyDefinition, step: Step, now_ms: int) -> Iterator[Instance]:
    """Yield the rows that a decision results in: during its run, after a success, after a failure."""
    match step:
        case Commit(transition):
            yield from _put(transition)
        case Execute():
            claimed = next(_put(step.claiming or claim_event(step)))
            yield claimed
            # The claim is in the row, as an engine would have committed it before the run.
            running = attrs.evolve(step, instance=claimed, claimed="recorded")
            # No hook of the user runs: its result is made up, and only the row that it leaves counts.
            for exit_ in (Success(None), Raised(RuntimeError("made up"))):
                yield from _put(_ended(job, running, exit_, now_ms))
        case _:
            return


def _ended(job: AnyDefinition, execute: Execute, exit_: Exit[Any, Any], now_ms: int) -> Transition:
    step = _finish(job, execute, exit_, now_ms)
    for _ in range(MAX_HOOKS):
        if isinstance(step, Commit):
            return step.transition
        step = _finish(job, step, exit_, now_ms)
    return Transition(address=execute.instance.address)


def _finish(job: AnyDefinition, execute: Execute, exit_: Exit[Any, Any], now_ms: int) -> Commit | Execute:
    """Decide on a made-up exit as the engine does: a kind that does not accept its value has a defect."""
    try:
        return finish(job, execute, exit_, turn_inputs_at(now_ms))
    except Exception as defect:  # noqa: BLE001 - of whatever class
        return finish(job, execute, Raised(defect), turn_inputs_at(now_ms))


def _put(transition: Transition) -> Iterator[Instance]:
    if isinstance(transition.write, Put):
        # A row without an incarnation was never stored.
        yield transition.write.instance.changed(incarnation=1)


_OTHER_FIELDS = tuple(
    field.name for field in attrs.fields(Instance) if field.name not in ("state", "state_version", "data")
)

Law: TypeAlias = Callable[[Any], object]
"""A function of a state."""


@attrs.frozen(kw_only=True)
class Upgrade:
    """Checks one job's rows.

    Attributes:
        invariants: conditions for every state that the code reads.
        preserved: functions whose results must be equal for the stored and the decoded state.
    """

    job: AnyDefinition
    invariants: Sequence[Law]
    preserved: Sequence[Law]

    def check(self, row: Instance, label: str) -> None:
        """Read a row, and check that it loses no data.

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
        """Replace every state in a row by a state in an older version.

        Raises:
            MigrationLosesData: the job kind changes more than states when it maps them.
        """
        stored = self.job.map_states(row, lambda _: encoded).changed(state_version=version)
        # A kind's own `map_states` is user code: another change of the row would be lost at each upgrade.
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
        # An upcaster that reads a clock or keeps a counter would give each engine another state.
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
        """Start the row's next turn: an instance with an alarm or a claim must continue."""
        claimed = row.claim is not None or row.event_claim is not None
        if (row.due_ms is None and not claimed) or row.suspension is not None:
            return
        request = RECOVER if claimed else ALARM
        facts = turn_inputs_at(row.due_ms or row.updated_ms)
        step = begin(self.job, row.address, Loaded(instance=row), request, facts)
        marked = stored(step.transition) if isinstance(step, Mark) else None
        # A recovery counts a delivery first. The turn after it is the one that must run.
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
    """The parts that an error has before its problem is known."""

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
    """Return the changed fields' names, other than the states and their version."""
    return [name for name in _OTHER_FIELDS if getattr(before, name) != getattr(after, name)]


def check_migrations(
    definition: AnyDefinition,
    /,
    *,
    invariants: Sequence[Law] = (),
    preserved: Sequence[Law] = (),
    snapshots: Sequence[str | os.PathLike[str]] = (),
    using: Mapping[Any, st.SearchStrategy[Any]] | None = None,
    settings: hypothesis_settings | None = None,
) -> None:
    """Check that the current code can read states from older code, and that no data is lost.

    Hypothesis draws states in every older version. They are encoded as in that version, and put into job rows with
    every status: scheduled, running, retrying, parked, paused. Each row is upgraded as an engine would, and then:

    * it can be read: every upcaster returns the next version's type and raises nothing.
    * the invariants hold for the state, and the preserved values are equal.
    * the rest of the row is unchanged: status, alarm, retry, claim, counters.
    * its next turn runs it, or leaves it an alarm: an unfinished instance does not stop.

    Call it in a test. Hypothesis shows the smallest state that fails.

    Args:
        definition: the job, with its ``versions``.
        invariants: functions that take a decoded state, and return False or raise ``AssertionError`` when violated.
        preserved: functions that take a state in any version, and whose results must be equal before and after: a
            balance, or whether it is finished.
        snapshots: files that ``perdure snapshot`` wrote: rows from a real store, which are checked in the same way.
        using: strategies for some types, such as ``{AccountV1: st.builds(AccountV1, euros=st.integers(0, 99))}``, to
            draw only states that older code could store.
        settings: Hypothesis' settings. By default the profile's.

    Raises:
        MigrationLosesData: data is lost. The message names the state, its version, the row and the problem.
        DefinitionError: there is nothing to check.
        StoreCorrupt: a file is not a snapshot file.
    """
    job = check_definition(definition)
    upgrade = Upgrade(job=job, invariants=tuple(invariants), preserved=tuple(preserved))
    rows, steps = rows_of(job), job.plan.upgrades.steps
    _check_there_is_something(job, rows, snapshots)
    # First: a real row that fails is worth more than a drawn one.
    for path in snapshots:
        _check_snapshots(job, upgrade, Path(path))
    one_at_a_time = hypothesis_settings(settings or hypothesis_settings(), report_multiple_bugs=False)
    for step in steps:
        drawn = given(from_type(step.codec.form, using=using))(_of_version(step, upgrade, rows))
        one_at_a_time(drawn)()


def _of_version(step: UpgradeStep, upgrade: Upgrade, rows: Mapping[str, Instance]) -> Any:  # a test for Hypothesis
    def of_version(value: object) -> None:
        try:
            encoded = step.codec.encode(value).decode()
        except InvalidInput:  # older code could not have stored it
            reject()
        for label, row in rows.items():
            upgrade.check(upgrade.placed(encoded, step.version, row, label), label)

    # the name under which Hypothesis reports and remembers its failures
    name = f"state_of_{upgrade.job.kind}_{upgrade.job.name}_version_{step.version}"
    of_version.__name__ = of_version.__qualname__ = re.sub(r"\W", "_", name)
    return of_version


def _check_snapshots(job: AnyDefinition, upgrade: Upgrade, path: Path) -> None:
    rows = read_snapshots(path.read_bytes(), what=str(path))
    own = [row for row in rows if (row.address.kind, row.address.name) == (job.kind, job.name)]
    if not own:
        others = ", ".join(sorted({f"{row.address.kind}:{row.address.name}" for row in rows})) or "none"
        raise DefinitionError(f"snapshots in {path}", others, f"rows of {job.kind}:{job.name}")
    for row in own:
        # A row that other code left is checked as well: this code may read it.
        upgrade.check(attrs.evolve(row, left=None), f"snapshot {row.address.id}")


def _check_there_is_something(job: AnyDefinition, rows: Mapping[str, Instance], snapshots: Sequence[object]) -> None:
    what = f"migrations of {job.kind}:{job.name}"
    if not job.plan.upgrades.steps and not snapshots:
        raise DefinitionError(what, "no older version", "versions=Migrations(Oldest).then(to_next), or snapshots")
    if not rows and not snapshots:
        expected = "an input of a creating command that can be constructed, or snapshots=[...] of a real store"
        raise DefinitionError(what, tuple(job.plan.offered), expected)
