"""Evolution proved: good chains pass in every kind of job, and each way to lose something is found and reported."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen
from hypothesis import settings
from hypothesis import strategies as st
from reminder import Reminder
from reminder.context import ReminderContext
from returns.result import Result, Success

from perdure import (
    Backoff,
    Continuous,
    ContinuousContext,
    Debounce,
    DebounceContext,
    Decision,
    Migrations,
    Program,
    Retry,
    Task,
    every,
    succeed,
)
from perdure.stores.snapshots import write_snapshots
from perdure.testing import MigrationLosesData, check_migrations
from perdure.testing.migration import rows_of
from perdure.values.errors import DefinitionError, StoreCorrupt
from perdure.values.instance import Instance

FEW = settings(max_examples=25, database=None)


@frozen
class V1:
    euros: int
    open: bool = True


@frozen
class V2:
    cents: int
    open: bool = True


@frozen
class Open:
    cents: int
    currency: str = "EUR"


@frozen
class Closed:
    cents: int


Account = Open | Closed

EUROS = {int: st.integers(-(10**9), 10**9)}


def in_cents(old: V1) -> V2:
    return V2(old.euros * 100, old.open)


def by_status(old: V2) -> Account:
    return Open(old.cents) if old.open else Closed(old.cents)


def cents(state: Any) -> int:
    return state.euros * 100 if isinstance(state, V1) else state.cents


def is_open(state: Any) -> bool:
    return isinstance(state, Open) or getattr(state, "open", False)


GOOD = Migrations(V1).then(in_cents).then(by_status)


def run(ctx: ContinuousContext[Any]) -> Program[None]:
    return succeed(None)


def decide(state: Account, event: int) -> Result[Decision[Account], str]:
    return Success(Decision(state))


def take(ctx: DebounceContext[Any], event: int) -> Program[None]:
    return succeed(None)


def remind(ctx: ReminderContext) -> Program[None]:
    return succeed(None)


def as_text(minutes: int) -> str:
    return f"in {minutes} minutes"


RETRY: Any = Retry(3, Backoff.constant("1 second"))


def task(versions: Any = GOOD, **options: Any) -> Any:
    return Task("it", state=Account, versions=versions, event=int, initial=Open(0), decide=decide, **options)


def ticker(versions: Any = GOOD, **options: Any) -> Any:
    return Continuous("it", state=Account, versions=versions, schedule=every("1 hour"), execute=run, **options)


def batcher(versions: Any = GOOD, **options: Any) -> Any:
    return Debounce(
        "it",
        event=int,
        state=Account,
        initial=Open(0),
        versions=versions,
        flush_after="1 minute",
        on_event=take,
        execute=run,
        **options,
    )


def newest(versions: Any) -> Any:
    return Debounce("it", event=Account, versions=versions, flush_after="1 minute", execute=run)


@pytest.mark.parametrize("retry", [None, RETRY])
@pytest.mark.parametrize("define", [task, ticker, batcher])
def test_a_good_chain_passes_in_every_kind_of_job(define: Any, retry: Any) -> None:
    check_migrations(define(retry=retry), preserved=(cents, is_open), using=EUROS, settings=FEW)


def test_a_debounce_of_its_events_and_a_third_partys_kind_pass() -> None:
    check_migrations(newest(GOOD), preserved=(cents,), using=EUROS, settings=FEW)
    check_migrations(Reminder.of("it", remind, versions=Migrations(int).then(as_text)), settings=FEW)


def test_rows_are_in_every_status_that_the_kind_knows() -> None:
    assert set(rows_of(ticker(retry=RETRY))) == {
        "running (start)",
        "scheduled",
        "retrying (start)",
        "running (alarm)",
        "retrying (alarm)",
        "paused (paused)",
    }
    assert {"running (event)", "idle", "running (alarm)", "parked (retries_exhausted)"} <= set(rows_of(task()))
    flushing = rows_of(batcher())["running (alarm)"]
    assert '"flushing":{"state"' in flushing.data
    assert set(rows_of(Reminder.of("it", remind))) == {
        "scheduled",
        "running (alarm)",
        "parked (retries_exhausted)",
        "paused (paused)",
    }


# ---------------------------------------------------------------- losses
def half(old: V1) -> V2:
    return V2(old.euros * 50, old.open)


def ending(old: V2) -> Account:
    return Closed(old.cents)


def only_positive(old: V2) -> Account:
    if old.cents < -5:
        raise ValueError("negative")
    return Open(old.cents)


def lying(old: V2) -> Account:
    return Open(str(old.cents)) if old.cents > 3 else Open(old.cents)  # type: ignore[arg-type] # the mistake under test


class _Turns:
    count = 0


def impure(old: V2) -> Account:
    _Turns.count += 1
    return Open(old.cents + _Turns.count)


def never_in_debt(state: Account) -> bool:
    return state.cents >= 0


def asserted(state: Account) -> None:
    assert state.cents < 77


@pytest.mark.parametrize(
    ("versions", "laws", "told"),
    [
        (Migrations(V1).then(half).then(by_status), {"preserved": [cents]}, r"cents was -?100 and is -?50"),
        (Migrations(V1).then(half).then(by_status), {"preserved": [cents]}, r"stored:  version 1: \{\"euros\":-?1,"),
        (Migrations(V1).then(in_cents).then(ending), {"preserved": [is_open]}, r"is_open was True and is False"),
        (Migrations(V1).then(half).then(by_status), {"preserved": [is_open, cents]}, r"cents was -?100 and is -?50"),
        (Migrations(V1).then(in_cents).then(ending), {"preserved": [cents, is_open]}, r"is_open was True and is False"),
        (Migrations(V2).then(only_positive), {}, r"ValueError: negative"),
        (Migrations(V2).then(only_positive), {}, r'version 1: \{"cents":-6,"open":(true|false)\}'),
        (Migrations(V2).then(lying), {}, r"as lying returned it: \$.cents: expected int, got '4'"),
        (Migrations(V2).then(impure), {}, r"upgrading it twice gives two results"),
        (GOOD, {"invariants": [never_in_debt]}, r"the invariant never_in_debt does not hold"),
        (GOOD, {"invariants": [asserted]}, r"the invariant asserted does not hold"),
    ],
)
def test_a_loss_is_reported_with_the_smallest_state(versions: Any, laws: Any, told: str) -> None:
    with pytest.raises(MigrationLosesData, match=told):
        check_migrations(task(versions), using=EUROS, settings=settings(FEW, max_examples=100), **laws)


def test_values_that_older_code_could_not_store_are_not_drawn() -> None:
    some = {V1: st.builds(V1, euros=st.integers(0, 99)), V2: st.builds(V2, cents=st.integers(0, 99))}
    check_migrations(task(), invariants=[never_in_debt], using=some, settings=FEW)


@frozen(eq=False)
class Forgetful(Reminder[Any]):
    """A kind that loses its alarm on the way."""

    def map_states(self, instance: Instance, change: Any) -> Instance:
        return super().map_states(instance, change).changed(alarm_ms=None)


@frozen(eq=False)
class Abandoning(Reminder[Any]):
    """A kind that loses the claim of a run in progress."""

    def map_states(self, instance: Instance, change: Any) -> Instance:
        return super().map_states(instance, change).changed(claim=None)


@frozen(eq=False)
class Careless(Reminder[Any]):
    """A kind that delays events that it should run."""

    def present(self, instance: Instance) -> Instance:
        found = super().present(instance)
        return found if found is instance else evolve(found, suspension="paused")


def test_a_kind_that_loses_values_outside_the_state_is_reported() -> None:
    made = Reminder.of("it", remind, versions=Migrations(int).then(as_text))
    with pytest.raises(MigrationLosesData, match="map_states of the kind changed alarm_ms"):
        check_migrations(Forgetful(made.name, made.plan, made.remind), settings=FEW)
    with pytest.raises(MigrationLosesData, match=r"row: +running \(.*\n.*map_states of the kind changed claim"):
        check_migrations(Abandoning(made.name, made.plan, made.remind), settings=FEW)
    with pytest.raises(MigrationLosesData, match="the upgrade changed suspension"):
        check_migrations(Careless(made.name, made.plan, made.remind), settings=FEW)


# ---------------------------------------------------------------- snapshots
def snapshot(path: Path, *rows: Instance) -> Path:
    path.write_bytes(write_snapshots(rows))
    return path


def test_rows_of_a_real_store_are_checked_in_the_same_way(tmp_path: Path) -> None:
    rows = rows_of(task())
    old = [
        task().map_states(row, lambda _: '{"euros":5,"open":true}').changed(state_version=1) for row in rows.values()
    ]
    file = snapshot(tmp_path / "rows.json", *old, *rows.values())
    check_migrations(task(), snapshots=[file], preserved=(cents,), using=EUROS, settings=FEW)
    with pytest.raises(MigrationLosesData, match="snapshot made-up"):
        check_migrations(task(Migrations(V1).then(half).then(by_status)), snapshots=[file], preserved=[cents])
    newer = snapshot(tmp_path / "newer.json", old[0].changed(state_version=9))
    with pytest.raises(MigrationLosesData, match="its version is 9"):
        check_migrations(task(), snapshots=[newer])


def test_a_check_without_anything_to_check_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="no older version"):
        check_migrations(task(None))
    file = snapshot(tmp_path / "rows.json", rows_of(ticker())["scheduled"])
    with pytest.raises(DefinitionError, match=re.escape("expected rows of task:it; got 'continuous:it'")):
        check_migrations(task(), snapshots=[file])
    file.write_bytes(b"[]")
    with pytest.raises(StoreCorrupt, match="perdure snapshot"):
        check_migrations(task(), snapshots=[file])
    file.write_bytes(b"no JSON")
    with pytest.raises(StoreCorrupt, match="it is not JSON"):
        check_migrations(task(), snapshots=[file])
