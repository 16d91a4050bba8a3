"""Checks every older version of a job's state with drawn values."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from hypothesis import given, reject
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from perdure.codecs.migrations import UpgradeStep
from perdure.jobs.definition import AnyDefinition, check_definition
from perdure.stores.snapshots import read_snapshots
from perdure.testing.migration.rows import rows_of
from perdure.testing.migration.upgrade import Law, Upgrade
from perdure.testing.typed import from_type
from perdure.values.errors import DefinitionError, InvalidInput
from perdure.values.instance import Instance


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
    """Check that the current code can read states of older code, and that no data is lost.

    States of every older version are drawn, encoded as in that version, and put into rows of the job in every status:
    scheduled, running, retrying, parked, paused. Each row is upgraded as an engine would, and then:

    * it can be read: every upcaster returns the next version's type and raises nothing;
    * the invariants hold for the state, and the preserved values are equal;
    * the rest of the row is unchanged: status, alarm, retry, claim, counters;
    * its next turn runs it, or leaves it an alarm: an unfinished instance does not stop.

    Call it in a test. Hypothesis shows the smallest state that fails.

    Args:
        definition: the job, with its ``versions``.
        invariants: functions of a decoded state, which return False or raise ``AssertionError`` when violated.
        preserved: functions of a state, of any version, whose results must be equal before and after: a balance, or
            whether it is finished.
        snapshots: files that ``perdure snapshot`` wrote: rows of a real store, which are checked in the same way.
        using: strategies for some types, such as ``{AccountV1: st.builds(AccountV1, euros=st.integers(0, 99))}``, to
            draw only states that older code could store.
        settings: Hypothesis' settings; by default those of the profile.

    Raises:
        MigrationLosesData: data is lost; the message names the state, its version, the row and the problem.
        DefinitionError: there is nothing to check.
        StoreCorrupt: a file is not a file of snapshots.
    """
    job = check_definition(definition)
    upgrade = Upgrade(job=job, invariants=tuple(invariants), preserved=tuple(preserved))
    rows, steps = rows_of(job), job.plan.upgrades.steps
    _check_there_is_something(job, rows, snapshots)
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
        upgrade.check(attrs.evolve(row, left=None), f"snapshot {row.address.id}")


def _check_there_is_something(job: AnyDefinition, rows: Mapping[str, Instance], snapshots: Sequence[object]) -> None:
    what = f"migrations of {job.kind}:{job.name}"
    if not job.plan.upgrades.steps and not snapshots:
        raise DefinitionError(what, "no older version", "versions=Migrations(Oldest).then(to_next), or snapshots")
    if not rows and not snapshots:
        expected = "an input of a creating command that can be constructed, or snapshots=[...] of a real store"
        raise DefinitionError(what, tuple(job.plan.offered), expected)
