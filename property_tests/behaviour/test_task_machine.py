"""The pure handler of tasks against a model: `begin` and `finish`, with hand-made instances and facts.

No engine, no store, no clock: the functions decide, and the test carries out their decisions.
"""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from machine import Add, AlarmIn, Break, End, NoAlarm, OnAlarm, Refuse, Step, Steps, Total, at, machine_with
from returns.result import Failure, Success

from perdure import Backoff, Retry
from perdure.jobs.request import ALARM, Pause, Request, Resume, Terminate, TriggerOptions
from perdure.jobs.step import Commit, Execute
from perdure.jobs.turn import begin, finish
from perdure.kinds.task.context import SendCommand, TriggerTaskCommand
from perdure.programs import run_sync, sandbox
from perdure.values.instance import Instance
from perdure.values.status import Suspension
from perdure.values.transition import KeepInstance, Loaded, Purge, Put, Transition
from perdure.values.turn_inputs import TurnInputs

job = machine_with(retry=Retry(max_attempts=2, delay=Backoff.constant("10 s"), jitter=False))
A = at("a")

ends = st.sampled_from([(), (), (), (Refuse(),), (Refuse(),), (Break(),), (Break(),), (End(),)])
changes = st.lists(
    st.one_of(
        st.integers(1, 9).map(Add),
        st.integers(0, 60).map(lambda seconds: AlarmIn(seconds * 1_000)),
        st.just(NoAlarm()),
    ),
    max_size=4,
)
plans: st.SearchStrategy[tuple[Step, ...]] = st.builds(lambda steps, end: (*steps, *end), changes, ends)


@attrs.define
class Model:
    """The model of a task."""

    total: int = 0
    plan: tuple[Step, ...] = ()
    alarm_ms: int | None = None
    retry_ms: int | None = None
    attempt: int = 1
    uncounted: int = 0
    suspension: Suspension | None = None
    events: int = 0
    runs: int = 0

    def take(self, steps: tuple[Step, ...], now_ms: int) -> str:
        """Take steps on a draft; keep it unless they fail."""
        draft, end = (self.total, self.alarm_ms), "done"
        for step in steps:
            match step:
                case Add(amount):
                    draft = (draft[0] + amount, draft[1])
                case AlarmIn(after_ms):
                    draft = (draft[0], now_ms + after_ms)
                case NoAlarm():
                    draft = (draft[0], None)
                case End():
                    end = "ended"
                case _:
                    return "failed"
        if end == "done":
            self.total, self.alarm_ms = draft
        return end


class TaskMachine(RuleBasedStateMachine):
    """One task, decided by the handler and by the model."""

    @initialize()
    def begins(self) -> None:
        self.now_ms = 1_000_000
        self.instance: Instance | None = None
        self.model: Model | None = None
        self.incarnations = 0
        self.decisions = 0

    # ------------------------------------------------------------ carrying out
    def inputs(self) -> TurnInputs:
        self.decisions += 1
        return TurnInputs(now_ms=self.now_ms, jitter=0.5, id_base=self.decisions << 64, epoch=1)

    def carry_out(self, transition: Transition) -> None:
        write, before = transition.write, self.instance
        if isinstance(write, KeepInstance):
            return
        assert transition.expected == (None if before is None else before.fence)
        if isinstance(write, Purge):
            self.instance = None
            return
        assert isinstance(write, Put)
        after = write.instance
        if before is None:
            self.incarnations += 1
            after = attrs.evolve(after, incarnation=self.incarnations)
        assert after.version == (1 if before is None else before.version + 1)
        assert (after.address, after.updated_ms) == (A, self.now_ms)
        self.instance = after

    def turn(self, command: object, action: str) -> Any:
        request = ALARM if command is ALARM else Request(command=command, action=action)
        step = begin(job, A, Loaded(instance=self.instance), request, self.inputs())
        if isinstance(step, Execute) and step.claiming is not None:
            self.carry_out(step.claiming)
            assert self.instance is not None
            assert self.instance.status == "running"
            step = attrs.evolve(step, instance=self.instance, claimed="recorded")
        while isinstance(step, Execute):
            exit_ = run_sync(sandbox(step.program, step.draft), None)
            step = finish(job, step, exit_.unwrap(), self.inputs())
        assert isinstance(step, Commit)
        self.carry_out(step.transition)
        return step.result

    # ------------------------------------------------------------ requests
    @rule(steps=plans)
    def send(self, steps: tuple[Step, ...]) -> None:
        result = self.turn(SendCommand(Steps(steps)), "send")
        model = self.model or Model()
        if model.suspension not in (None, "paused"):
            assert isinstance(result, Failure)
            return
        match model.take(steps, self.now_ms):
            case "done":
                model.events += 1
                assert result.unwrap().created == (self.model is None)
                self.model = model
            case "ended":
                assert isinstance(result, Success)
                self.model = None
            case _:
                assert isinstance(result, Failure)

    @rule(seconds=st.integers(0, 60), plan=plans)
    def send_a_plan(self, seconds: int, plan: tuple[Step, ...]) -> None:
        result = self.turn(SendCommand(OnAlarm(seconds * 1_000, plan)), "send")
        model = self.model or Model()
        if model.suspension not in (None, "paused"):
            assert isinstance(result, Failure)
            return
        model.events, model.plan, model.alarm_ms = model.events + 1, plan, self.now_ms + seconds * 1_000
        self.model = model

    @precondition(lambda self: self.decisions < 2 or self.model is not None)
    @rule(options=st.builds(TriggerOptions, new_run=st.booleans()))
    def trigger(self, options: TriggerOptions) -> None:
        """A run that waits for its retry makes its next attempt, unless a new run is requested."""
        answer = self.turn(TriggerTaskCommand(options), "trigger").unwrap()
        if self.model is None:
            assert answer.found == "absent"
        elif self.model.suspension is not None:
            assert answer.outcome.form == ("paused" if self.model.suspension == "paused" else "parked")
        else:
            if options.new_run or self.model.retry_ms is None:
                self.model.retry_ms, self.model.attempt, self.model.uncounted = None, 1, 0
            self.run(self.model, keeps_alarm=True)

    @precondition(lambda self: self.model is not None)
    @rule(late_ms=st.sampled_from([-1, 0]) | st.integers(1, 1_000))
    def alarm(self, late_ms: int) -> None:
        """The clock reaches the next alarm, or a millisecond before it."""
        model = self.model
        assert model is not None
        due_ms = model.alarm_ms if model.retry_ms is None else model.retry_ms
        self.now_ms = max(self.now_ms, (due_ms or 0) + late_ms)
        self.turn(ALARM, "alarm")
        if model.suspension is not None or due_ms is None or due_ms > self.now_ms:
            return
        self.run(model, keeps_alarm=model.retry_ms is not None)

    @precondition(lambda self: self.model is not None and self.model.retry_ms is not None)
    @rule()
    def retry(self) -> None:
        self.alarm(0)

    def run(self, model: Model, *, keeps_alarm: bool) -> None:
        """Act as a run: `keeps_alarm` says that it was not its own firing that set it going."""
        model.runs += model.retry_ms is None
        if not keeps_alarm:
            model.alarm_ms = None
        match model.take(model.plan, self.now_ms):
            case "done":
                model.retry_ms, model.attempt, model.uncounted = None, 1, 0
            case "ended":
                self.model = None
            case _ if model.attempt - model.uncounted >= 2:
                model.suspension, model.retry_ms = "retries_exhausted", self.now_ms
                model.attempt, model.uncounted = model.attempt + 1, model.attempt
            case _:
                model.retry_ms, model.attempt = self.now_ms + 10_000, model.attempt + 1

    @precondition(lambda self: self.decisions < 2 or self.model is not None)
    @rule()
    def pause(self) -> None:
        changed = self.turn(Pause(), "pause").unwrap().changed
        assert changed == (self.model is not None and self.model.suspension is None)
        if changed and self.model is not None:
            self.model.suspension = "paused"

    @precondition(lambda self: self.decisions < 2 or (self.model is not None and self.model.suspension is not None))
    @rule()
    def resume(self) -> None:
        changed = self.turn(Resume(), "resume").unwrap().changed
        assert changed == (self.model is not None and self.model.suspension is not None)
        if self.model is not None and self.model.suspension is not None:
            if self.model.suspension != "paused":
                self.model.retry_ms = self.now_ms
            self.model.suspension = None

    @precondition(lambda self: self.model is None or self.model.events > 4)
    @rule()
    def terminate(self) -> None:
        assert self.turn(Terminate(), "terminate").unwrap().terminated == (self.model is not None)
        self.model = None

    @precondition(lambda self: self.model is not None)
    @rule(seconds=st.integers(1, 30))
    def time_passes(self, seconds: int) -> None:
        self.now_ms += seconds * 1_000

    # ------------------------------------------------------------ what always holds
    @invariant()
    def the_instance_agrees_with_the_model(self) -> None:
        instance, model = self.instance, self.model
        assert (instance is None) == (model is None)
        if instance is None or model is None:
            return
        state: Any = job.decode_state(instance)
        assert isinstance(state, Total)
        assert (state.total, state.on_alarm) == (model.total, model.plan)
        assert (instance.alarm_ms, instance.suspension) == (model.alarm_ms, model.suspension)
        assert (instance.event_count, instance.run_count) == (model.events, model.runs)
        assert (instance.claim, instance.event_claim) == (None, None)
        pending_retry = instance.pending_retry
        assert (None if pending_retry is None else pending_retry.at_ms) == model.retry_ms
        assert model.attempt == (1 if pending_retry is None else pending_retry.attempt)


TestTaskMachine = TaskMachine.TestCase
TestTaskMachine.settings = settings(max_examples=100, stateful_step_count=50)
