"""The state machine for jobs finds defects of a job, and of an engine, and reports them as a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve, frozen
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture.providers import HypothesisProvider
from hypothesis.stateful import rule, run_state_machine_as_test
from reminder import Reminder
from reminder.context import ReminderContext
from returns.result import Failure, Result, Success

from perdure import Alarm, Decision, Do, Program, Task, TaskContext, effect, fail, program, succeed, tell
from perdure.testing import Crash, Delay
from perdure.testing.machine import DrawnRequest, InstanceView, InvariantViolated, JobMachine, Model
from perdure.values.errors import DefinitionError

QUICK = settings(
    max_examples=60,
    stateful_step_count=15,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True)
def same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep Hypothesis from drawing the constants of all loaded modules, which move the other draws."""
    monkeypatch.setattr(HypothesisProvider, "_maybe_draw_constant", lambda *_, **__: None)


@frozen
class Count:
    total: int = 0


@frozen
class Add:
    amount: int


@frozen
class Reset:
    pass


def decide(count: Count, event: Add | Reset) -> Result[Decision[Count], str]:
    match event:
        case Add(amount) if count.total + amount > 100:
            return Failure("too much")
        case Add(amount):
            return Success(Decision(Count(count.total + amount), Alarm.after("1 hour")))
        case Reset():
            return Success(Decision(Count()))


def counter(decider: Callable[[Count, Any], Any] = decide) -> Task[Count, Add | Reset, str, object]:
    return Task(
        "counter", state=Count, event=Add | Reset, initial=Count(), decide=decider, execute=lambda _: succeed(None)
    )


def machine(job: Any, **options: Any) -> JobMachine[Any]:
    given: dict[str, Any] = {"services": object, "types": {int: st.integers(0, 60)}, "mishaps": "none"}
    return JobMachine(job=job, **given | options)


def found(job_machine: JobMachine[Any]) -> InvariantViolated:
    with pytest.raises(InvariantViolated) as caught:
        job_machine.run(QUICK)
    return caught.value


def test_a_correct_job_breaks_no_law() -> None:
    machine(counter(), model=Model(Count(), decide), mishaps="drawn").run(QUICK)


def test_a_job_that_differs_from_its_model_is_found() -> None:
    def forgets(count: Count, event: Add | Reset) -> Result[Decision[Count], str]:
        return decide(count, event).map(lambda d: evolve(d, state=Count()) if d.state.total == 60 else d)

    broken = found(machine(counter(forgets), model=Model(Count(), decide)))
    assert broken.law == "the job does what its model does"
    assert "the model makes Count(total=60)" in broken.what


def test_a_job_that_refuses_a_call_that_its_model_accepts_is_found() -> None:
    def strict(count: Count, event: Add | Reset) -> Result[Decision[Count], str]:
        return Failure("no") if isinstance(event, Reset) and count.total else decide(count, event)

    broken = found(machine(counter(strict), model=Model(Count(), decide)))
    assert "and the model accepts it" in broken.what


def test_a_job_that_accepts_a_call_that_its_model_refuses_is_found() -> None:
    def lenient(count: Count, event: Add | Reset) -> Result[Decision[Count], str]:
        return decide(count, event).lash(lambda _: Success(Decision(Count(101))))

    broken = found(machine(counter(lenient), model=Model(Count(), decide)))
    assert "and the model refuses it with 'too much'" in broken.what


def test_an_alarm_that_the_model_does_not_set_is_found() -> None:
    def late(count: Count, event: Add | Reset) -> Result[Decision[Count], str]:
        return decide(count, event).map(lambda d: evolve(d, alarm=Alarm.after("2 hours")) if d.state.total > 50 else d)

    broken = found(machine(counter(late), model=Model(Count(), decide)))
    assert "the model says AlarmAfter(delay='1 hour')" in broken.what


def test_an_invariant_that_does_not_hold_is_found() -> None:
    def never_full(view: InstanceView[Count]) -> bool:
        return view.state.total < 90

    broken = found(machine(counter(), invariants=(never_full,)))
    assert broken.law == "an invariant of the test"
    assert "never_full does not hold of task:counter:" in broken.what


def test_a_job_that_falls_silent_is_found() -> None:
    broken = found(machine(counter(), finished=lambda state: state == Count()))
    assert broken.law == "an unfinished instance has an alarm or is held"


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []


@effect
def write(log: Log, line: str) -> Result[None, str]:
    log.lines.append(line)
    return Success(None)


@program
def on_event(ctx: TaskContext[Count], event: Add | Reset) -> Do[None, str, Log]:
    yield from write(ctx.run_id)
    count = yield from ctx.state
    match decide(count, event):
        case Success(decision):
            yield from ctx.apply(decision)
        case Failure(error):
            yield from fail(error)


def counter_with_effects() -> Task[Count, Add | Reset, str, Log]:
    return Task(
        "counter",
        state=Count,
        event=Add | Reset,
        initial=Count(),
        on_event=on_event,
        execute=lambda _: succeed(None),
    )


def test_effects_crashes_and_faults_break_no_law_either() -> None:
    job = counter_with_effects()
    machine(job, services=Log, model=Model(Count(), decide), mishaps="drawn").run(QUICK)


@program
def remind(ctx: ReminderContext) -> Do[None, str, Log]:
    text = yield from ctx.state
    yield from write(text)


def test_a_kind_from_outside_has_a_machine_as_well() -> None:
    job = Reminder.of("reminder", remind)
    machine(job, services=Log, mishaps="drawn").run(QUICK)
    broken = found(machine(job, services=Log, invariants=(lambda view: view.state == "",)))
    assert broken.law == "an invariant of the test"


def test_a_disk_is_a_place_for_a_machine_as_well() -> None:
    few = settings(QUICK, max_examples=5)
    machine(counter(), model=Model(Count(), decide), mishaps="drawn", store="sqlite").run(few)


def test_a_command_that_the_job_has_not_is_refused() -> None:
    with pytest.raises(DefinitionError, match="one of send, trigger, terminate, pause, resume"):
        machine(counter(), commands=("sned",))


def test_an_undefined_target_of_tell_is_named() -> None:
    @program
    def on_event(ctx: TaskContext[Count], event: Add) -> Do[None, str, object]:
        yield from tell(counter(), "line\nbreak").send(event)

    telling = Task("telling", state=Count, event=Add, initial=Count(), on_event=on_event)
    with pytest.raises(
        InvariantViolated, match=r"no job here is task:counter; pass beside=\(the_definition,\)"
    ) as caught:
        JobMachine(job=telling, services=object, mishaps="none").run(QUICK)
    (story,) = (note for note in caught.value.__notes__ if "Trace (time" in note)
    assert "sends task:counter:line\\nbreak send" in story, "an id does not break a line"
    few = settings(QUICK, max_examples=5)
    JobMachine(job=telling, services=object, mishaps="none", beside=(counter(),)).run(few)


def test_a_failure_reads_like_a_story() -> None:
    def never_ten(view: InstanceView[Count]) -> bool:
        return view.state.total < 10

    shrunk = settings(QUICK, phases=[Phase.generate, Phase.shrink], report_multiple_bugs=False)
    with pytest.raises(InvariantViolated) as caught:
        machine(counter(), invariants=(never_ten,), commands=("send",)).run(shrunk)
    story = "\n".join(caught.value.__notes__)
    assert "state.request_" in story
    assert "send('a', Add(amount=10))" in story
    assert '#1 request to task:counter:a: send {"type":"Add","amount":10}' in story
    assert "commit task:counter:a: v1 scheduled, due in 1h" in story
    assert "world.run(counter.send('a', Add(amount=10)" in story.replace("world.attempt(", "world.run(")


def test_the_smallest_history_has_no_unnecessary_request_and_is_found_soon() -> None:
    """With all commands, crashes and faults: each example has services of its own, so their number is the time."""
    examples: list[None] = []

    def never_full(view: InstanceView[Count]) -> bool:
        return view.state.total <= 60

    drawn = machine(
        counter(), invariants=(never_full,), services=lambda: examples.append(None), mishaps="drawn", debug=False
    )
    options = settings(
        drawn.TestCase.settings, database=None, derandomize=False, suppress_health_check=list(HealthCheck)
    )
    with pytest.raises(InvariantViolated) as caught:
        run_state_machine_as_test(seed(0)(drawn.rules), settings=options)
    steps = [line for line in "\n".join(caught.value.__notes__).splitlines() if line.startswith("state.")]
    assert [step.partition("(")[0] for step in steps[1:-1]] in ([ONE] * 2, [SEVERAL])
    assert "".join(steps).count("send('a', ") == 2
    assert len(examples) <= 700


ONE, SEVERAL = "state.request_one", "state.request_in_sequence"


def test_a_rule_of_ones_own_can_be_added() -> None:
    tried: list[str] = []

    class Own(machine(counter()).rules):  # type: ignore[misc] # a class that is made
        @rule()
        def fill(self) -> None:
            tried.append("fill")
            self.ask(DrawnRequest("send", "a", Add(60)))

    run_state_machine_as_test(Own, settings=QUICK)
    assert tried


def test_it_does_not_trace_the_engine_to_explain_a_failure():
    assert Phase.explain not in machine(counter()).TestCase.settings.phases


# ---------------------------------------------------------------- deaths on the way
@effect
def charge(services: object, key: str) -> Result[None, str]:
    return Success(None)


@program
def charges(ctx: TaskContext[int]) -> Do[None, str]:
    yield from charge(ctx.run_id)


def charges_later(ctx: TaskContext[int], event: int) -> Program[None]:
    return ctx.schedule(after="1 s")


charging = Task("charging", state=int, event=int, initial=0, on_event=charges_later, execute=charges)


@pytest.mark.parametrize("step", ["restart", "advance", "jump"])
def test_a_worker_that_an_injected_crash_kills_is_followed_by_the_next(step: str) -> None:
    rules = JobMachine(job=charging, services=object, commands=("send",)).rules()
    rules.begin(seed=0)
    rules.ask(DrawnRequest("send", "a", 1))
    if step == "restart":
        rules.set_fault(Delay("charge", "30 s"))
        rules.advance("1 s")  # the run outlives the drain time: the next worker delivers it again as it opens
    rules.set_fault(Crash("charge"))
    {"restart": rules.restart, "advance": lambda: rules.advance("1 s"), "jump": rules.jump}[step]()
    assert not rules.world.is_open, "the crash was met"
    rules.laws_hold()
    assert rules.world.is_open
    rules.teardown()


def test_the_changed_settings_of_a_test_case_remain() -> None:
    counting = machine(counter())
    counting.TestCase.settings = settings(counting.TestCase.settings, max_examples=7)
    assert counting.TestCase.settings.max_examples == 7
    assert Phase.explain not in counting.TestCase.settings.phases
