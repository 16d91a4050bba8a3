"""``perdure check --deploy``: the changes between two versions of an app, and the order in which they are deployed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
from attrs import evolve, frozen
from returns.result import Result, Success

from perdure import (
    App,
    Do,
    Migrations,
    Program,
    Signal,
    Task,
    TaskContext,
    WorkerPool,
    Workflow,
    WorkflowContext,
    effect,
    patched,
    program,
)
from perdure.cli.commands import run_command
from perdure.cli.inspection.check import DeployRow, changes, order_of, read_types, text_of, types_of
from perdure.cli.process import ExitCode
from perdure.kinds.workflow.declared_steps import declared_steps
from perdure.programs import gather, sleep

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "two-versions.md"


# ---------------------------------------------------------------- pairs of types, as the documentation names them
@frozen
class Line:
    sku: str
    n: int


@frozen
class Refund:
    cents: int


@frozen
class Void:
    cents: int


def record(**fields: Any) -> Any:
    """Make a class `Order`; a field with a pair has a default."""
    made = type("Order", (), {"__annotations__": {}})
    for name, given in fields.items():
        form, *default = given if isinstance(given, tuple) else (given,)
        made.__annotations__[name] = form
        if default:
            setattr(made, name, default[0])
    return frozen(made, kw_only=True)


ORDER = record(cents=int)
PAIRS: dict[str, tuple[Any, Any]] = {
    "a field with a default": (ORDER, record(cents=int, tip=(int, 0))),
    "a field without a default": (ORDER, record(cents=int, tip=int)),
    "a default of a field removed": (record(cents=(int, 0)), ORDER),
    "a field removed": (record(cents=int, tip=(int, 0)), ORDER),
    "a field renamed": (ORDER, record(amount=int)),
    "a field of another type": (ORDER, record(cents=str)),
    "`int` to `float`": (ORDER, record(cents=float)),
    "a type made optional": (ORDER, record(cents=int | None)),
    "an optional type made required": (record(cents=int | None), ORDER),
    "a choice added": (record(size=Literal["s"]), record(size=Literal["s", "m"])),
    "a choice removed": (record(size=Literal["s", "m"]), record(size=Literal["s"])),
    "a class added to a union, at the end": (ORDER | Refund, ORDER | Refund | Void),
    "a class that becomes a union, as its first class": (ORDER, ORDER | Refund),
    "a class that becomes a union, not as its first class": (ORDER, Refund | ORDER),
    "a class removed from a union": (ORDER | Refund | Void, ORDER | Refund),
    "the order of fields, a docstring, a default's value": (record(a=int, b=(int, 0)), record(b=(int, 1), a=int)),
}


def app_of(
    state: Any = int,
    event: Any = int,
    *,
    errors: Any = Line,
    result: Any = int,
    versions: Any = None,
    name: str = "orders",
) -> App[Any]:
    """Make an app whose jobs have these types."""

    def on_event(ctx: TaskContext[Any], event: Any) -> Program[None]:
        raise NotImplementedError

    def work(ctx: Any) -> Program[Any]:
        raise NotImplementedError

    job: Any = Task(
        "orders", state=state, event=event, initial=lambda _: None, on_event=on_event, errors=errors, versions=versions
    )
    pool: Any = WorkerPool("items", item=int, work=work, result=result)
    return App(None).with_jobs(job, pool)


def rows_of(old: App[Any], new: App[Any]) -> tuple[DeployRow, ...]:
    return changes(types_of(old.served.values()), types_of(new.served.values()))


ROLES = {"state": "state", "event, input, signal": "event", "kept result": "result", "error": "errors"}


def effects(old: Any, new: Any) -> tuple[str, ...]:
    """Return the order of a deploy that changes one type, for each place of the type."""
    return tuple(order_of(rows_of(app_of(**{name: old}), app_of(**{name: new}))) for name in ROLES.values())


def test_the_page_says_how_each_change_is_deployed() -> None:
    computed = {change: effects(*pair) for change, pair in PAIRS.items()}
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cells = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]
    head, *rows = [each for each in cells if len(each) == len(ROLES) + 1]
    assert head[1:] == tuple(ROLES)
    assert {change: tuple(found) for change, *found in rows} == computed


def test_a_wider_number_is_not_read_where_it_is_a_fraction() -> None:
    old, new = (app_of(each, each, result=each) for each in (ORDER, record(cents=float)))
    assert {row.place: row.reason for row in rows_of(old, new)} == {
        "state $.cents": (
            "a wider number: engines with the old code read 1.0 as 1, and leave the instances that have a fraction"
        ),
        "input of send $.cents": "engines with the old code refuse a fraction",
        "result $.cents": "clients with the old code cannot read a fraction",
    }
    assert {row.reason for row in rows_of(new, old) if row.effect == "needs a version"} == {
        "stored states may have a fraction here",
        "the new code cannot read a stored result: a fraction",
    }


# ---------------------------------------------------------------- steps of workflows
GO = Signal("go", int)


@effect
def pay(_: object, key: str) -> Result[int, str]:
    """Charge a card."""
    return Success(1)


@effect
def ship(_: object, key: str) -> Result[int, str]:
    """Send a parcel."""
    return Success(2)


@program
def both(key: str) -> Do[int, str, object]:
    """Pay and ship."""
    yield from pay(key)
    return (yield from ship(key))


def steps_of(run: Any) -> tuple[str, ...]:
    return declared_steps(program(run))


def paid(ctx: Any) -> Any:
    yield from pay(ctx.id)
    go = yield from GO.receive()
    yield from ship(ctx.id)
    return go


def renamed(ctx: Any) -> Any:
    yield from pay(ctx.id)
    yield from OTHER.receive()
    yield from ship(ctx.id)


OTHER = Signal("other", int)


def shorter(ctx: Any) -> Any:
    yield from pay(ctx.id)
    yield from ship(ctx.id)


def reordered(ctx: Any) -> Any:
    yield from ship(ctx.id)
    yield from GO.receive()
    yield from pay(ctx.id)


def longer_before(ctx: Any) -> Any:
    yield from sleep("1 day")
    yield from paid(ctx)


def longer_behind(ctx: Any) -> Any:
    yield from paid(ctx)
    for _ in range(2):
        yield from gather(*[both(key) for key in "ab"])


def guarded(ctx: Any) -> Any:
    if (yield from patched("wait first")):
        yield from sleep("1 day")
    yield from paid(ctx)


def guarded_and_shorter(ctx: Any) -> Any:
    if (yield from patched("no wait")):
        yield from shorter(ctx)


STEPS = ("pay", "signal go", "ship")


def test_the_steps_of_a_program_are_those_of_its_source() -> None:
    assert steps_of(paid) == STEPS
    assert steps_of(longer_before) == ("sleep", *STEPS)
    assert steps_of(longer_behind) == (*STEPS, "gather", "pay", "ship")
    assert steps_of(guarded) == ("patch wait first", "sleep", *STEPS)


class Shop:
    """Programs that are methods."""

    job: Any = None

    @program
    def run(self, ctx: Any) -> Do[int, Any, Any]:
        """Call another workflow in a function that calls itself."""
        sleep = yield from self.part(ctx)
        yield from sleep
        return (yield from self.run(ctx))

    @program
    def part(self, ctx: Any) -> Do[Any, Any, Any]:
        """Call another workflow."""
        yield from self.job.call("part", 1)
        later = lambda: both(ctx.id)  # noqa: E731 - an inner function of the program
        return later()


def test_methods_are_followed_and_local_names_are_not_mistaken_for_functions() -> None:
    shop = Shop()
    shop.job = Workflow("parts", state=int, run=program(paid), result=int, errors=str)
    assert declared_steps(shop.run) == ("child parts", "pay", "ship")


@pytest.mark.parametrize(
    ("run", "place", "reason"),
    [
        (renamed, "step 2", "the step signal go is signal other in the new code"),
        (shorter, "step 2", "the new code does not have the step signal go here"),
        (longer_before, "step 1", "the new code has the step sleep before pay"),
        (guarded_and_shorter, "step 1", "the new code has the step patch no wait before pay"),
    ],
)
def test_a_change_of_steps_needs_a_version(run: Any, place: str, reason: str) -> None:
    old, new = (
        App(None).with_jobs(Workflow("sales", state=int, run=program(each), result=int, errors=str))
        for each in (paid, run)
    )
    (row,) = [row for row in rows_of(old, new) if row.place.startswith("step")]
    assert (row.effect, row.job, row.place) == ("needs a version", "workflow:sales", place)
    assert row.reason.startswith(f"{reason}; workflows beyond it diverge: keep the old steps behind `patched(...)`")


def one_of_two(ctx: Any) -> Any:
    if ctx.id:
        yield from pay(ctx.id)
    else:
        yield from ship(ctx.id)


def one_of_two_exchanged(ctx: Any) -> Any:
    if not ctx.id:
        yield from ship(ctx.id)
    else:
        yield from pay(ctx.id)


@pytest.mark.parametrize(("before", "after"), [(paid, reordered), (one_of_two, one_of_two_exchanged)])
def test_steps_that_moved_are_reported_with_the_way_to_prove_that_nothing_diverges(before: Any, after: Any) -> None:
    """The source of moved branches, which is compatible, looks like that of moved steps."""
    old, new = (
        App(None).with_jobs(Workflow("sales", state=int, run=program(each), result=int, errors=str))
        for each in (before, after)
    )
    row = only(tuple(row for row in rows_of(old, new) if row.place.startswith("step")))
    assert (row.effect, row.place) == ("needs a version", "step 1")
    assert row.reason.startswith("the source of the new code has ship before pay: if a workflow performs both")
    assert "`perdure check --store` finds none that diverges" in row.reason


@pytest.mark.parametrize("run", [paid, longer_behind, guarded])
def test_steps_at_the_end_and_behind_a_patch_are_compatible(run: Any) -> None:
    old, new = (
        App(None).with_jobs(Workflow("sales", state=int, run=program(each), result=int, errors=str))
        for each in (paid, run)
    )
    assert rows_of(old, new) == ()


def test_a_file_without_steps_is_compared_by_its_types() -> None:
    old, new = (
        types_of([Workflow("sales", state=int, run=program(each), result=int, errors=str)])
        for each in (paid, reordered)
    )
    job = evolve(old.jobs["workflow:sales"], steps=None)
    assert changes(evolve(old, jobs={"workflow:sales": job}), new) == ()


# ---------------------------------------------------------------- versions and jobs
@frozen
class Euros:
    euros: int


@frozen
class Cents:
    cents: int


def in_cents(old: Euros) -> Cents:
    return Cents(old.euros * 100)


def with_tip(old: Cents) -> Line:
    return Line("x", old.cents)


VERSIONS = Migrations(Euros).then(in_cents)


def only(rows: tuple[DeployRow, ...]) -> DeployRow:
    (row,) = rows
    return row


def test_a_breaking_change_with_a_version_is_compatible() -> None:
    row = only(rows_of(app_of(Euros), app_of(Cents, versions=VERSIONS)))
    assert row.effect == "compatible"
    assert row.reason.startswith("version 1 is upgraded to 2; engines with the old code leave")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (app_of(Euros), app_of(Cents), "would keep its data"),
        (app_of(Cents), app_of(Cents, versions=VERSIONS), "version 1 is not the deployed type"),
        (app_of(Cents, versions=VERSIONS), app_of(Euros), "its version went back from 2 to 1"),
        (
            app_of(Euros),
            app_of(Line, versions=Migrations(Cents, number=2).then(with_tip)),
            "the new code has no function from version 1",
        ),
    ],
)
def test_a_breaking_change_without_its_version_needs_one(old: App[Any], new: App[Any], reason: str) -> None:
    rows = rows_of(old, new)
    assert order_of(rows) == "needs a version"
    assert any(reason in row.reason for row in rows)


def test_a_removed_job_and_a_changed_kind_are_named() -> None:
    old = app_of()
    new = App(None).with_jobs(*(job for job in old.served.values() if job.kind == "pool"))
    row = only(rows_of(old, new))
    assert (row.effect, row.job, row.place) == ("needs a version", "task:orders", "")
    assert "the new code does not serve it" in row.reason
    moved: Any = WorkerPool("orders", item=int, work=lambda _: None, result=int)  # type: ignore[arg-type, return-value]
    rows = rows_of(old, new.with_jobs(moved))
    assert [(row.effect, row.job) for row in rows] == [
        ("needs a version", "task:orders"),
        ("engines first", "pool:orders"),
    ]
    assert "its kind changed to pool:orders" in rows[0].reason


def test_signals_are_inputs() -> None:
    def flow(*signals: Signal[Any]) -> App[Any]:
        def run(ctx: WorkflowContext[int]) -> Program[int]:
            raise NotImplementedError

        return App(None).with_jobs(Workflow("flow", state=int, run=run, signals=signals))

    added = only(rows_of(flow(), flow(Signal("go", int))))
    assert (added.effect, added.place) == ("engines first", "signal go")
    assert only(rows_of(flow(Signal("go", int)), flow())).effect == "web tier first"
    wider = only(rows_of(flow(Signal("go", int)), flow(Signal("go", int | None))))
    assert (wider.effect, wider.place) == ("engines first", "signal go $")


def test_changes_in_both_directions_need_two_deploys() -> None:
    rows = rows_of(app_of(errors=Line), app_of(event=int | None, errors=Line | Refund))
    assert {row.effect for row in rows} == {"engines first", "web tier first"}
    assert order_of(rows) == "two deploys"
    both = rows_of(app_of(event=ORDER | Refund), app_of(event=ORDER | Void))
    assert {row.effect: row.place for row in both} == {
        "needs a version": "input of send $",
        "engines first": "input of send $",
    } or order_of(both) == "needs a version"


# ---------------------------------------------------------------- the command
@pytest.fixture
def deployed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """The definitions of the deployed app."""
    module = ModuleType("two_apps")
    module.__dict__.update(old=app_of(), new=app_of(event=int | None), broken=app_of(state=str), file="two_apps.py")
    module.__file__ = "two_apps.py"
    monkeypatch.setitem(sys.modules, "two_apps", module)
    assert run_command(["definitions", "two_apps:old"]) == ExitCode.DONE
    printed = capsys.readouterr().out
    assert run_command(["definitions", "two_apps:old"]) == ExitCode.DONE
    assert capsys.readouterr().out == printed
    file = tmp_path / "definitions.json"
    file.write_text(printed)
    return file


def test_the_command_needs_no_store(deployed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["check", "two_apps:new", "--deploy", str(deployed)]) == ExitCode.DONE
    assert capsys.readouterr().out.splitlines() == [
        "CHANGE         JOB          PLACE            REASON",
        "engines first  task:orders  input of send $  engines with the old code refuse a value of this type",
        "",
        "Deploy the engines first, then the web tier.",
    ]
    assert run_command(["check", "two_apps:old", "--deploy", str(deployed)]) == ExitCode.DONE
    assert capsys.readouterr().out == "Deploy in any order.\n"


def test_the_command_fails_if_a_change_needs_a_version(deployed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["check", "two_apps:broken", "--deploy", str(deployed), "--json"]) == ExitCode.FAILED
    found = json.loads(capsys.readouterr().out)
    assert found == {
        "order": "needs a version",
        "changes": [
            {
                "effect": "needs a version",
                "job": "task:orders",
                "place": "state $",
                "reason": "stored states have another kind of JSON here",
            }
        ],
    }


@pytest.mark.parametrize("text", ["", "{}", '{"format":2,"jobs":{}}'])
def test_another_file_is_a_usage_error(deployed: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    deployed.write_text(text)
    assert run_command(["check", "two_apps:new", "--deploy", str(deployed)]) == ExitCode.MISCONFIGURED
    assert "write the file with `perdure definitions MODULE:APP`" in capsys.readouterr().err


def test_a_file_is_read_as_it_was_written(deployed: Path) -> None:
    assert text_of(read_types(deployed)) == deployed.read_text().rstrip("\n")
