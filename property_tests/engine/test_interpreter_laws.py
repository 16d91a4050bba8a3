"""An interpreter over a dictionary, on the public surface for interpreters, agrees with the engine."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

import attrs
import pytest
from attrs import evolve, frozen
from hypothesis import example, given
from hypothesis import strategies as st
from returns.result import Failure, Result, Success

from perdure import (
    App,
    Backoff,
    Continuous,
    ContinuousContext,
    Debounce,
    DebounceContext,
    Do,
    Limit,
    Retry,
    Signal,
    Task,
    TaskContext,
    Workflow,
    WorkflowContext,
    effect,
    every,
    fail,
    program,
    tell,
)
from perdure.interpreters import (
    ALARM,
    RECOVER,
    Commit,
    Defer,
    Inbound,
    Limits,
    Loaded,
    Mark,
    Purge,
    Put,
    RecoverFirst,
    Request,
    Transition,
    TurnInputs,
    decide,
    decode_instance,
    decode_transition,
    early_answer,
    encode_instance,
    encode_transition,
    recover,
    run_claimed,
)
from perdure.jobs.call import Call, result_of
from perdure.programs import sleep
from perdure.runtime.simulated import Simulation
from perdure.runtime.tasks import ended
from perdure.testing import World
from perdure.values.address import Address
from perdure.values.errors import Conflict, HookRaised, InvalidInput, RunTimeout


# ---------------------------------------------------------------- the jobs
class Services:
    def __init__(self, simulation: Any = None) -> None:
        self.notes: list[str] = []
        self.simulation = simulation


@effect
def note(services: Services, line: str) -> Result[str, str]:
    services.notes.append(line)
    return Failure("refused") if line.endswith("refuse") else Success(line)


@frozen
class Count:
    n: int = 0
    fired: int = 0


@program
def on_event(ctx: TaskContext[Count], event: str) -> Do[None, str, Services]:
    state = yield from ctx.state
    match event:
        case "raise":
            yield from ctx.set_state(Count(n=999))
            raise RuntimeError(event)
        case "fail":
            yield from fail(event)
        case "arm":
            yield from ctx.schedule(after="3 s")
        case "end":
            yield from ctx.terminate("over")
        case "tell":
            yield from tell(counts, "b").send("plain")
            yield from tell(counts, ctx.id).send("note")
        case "note" | "refuse":
            yield from note(f"{ctx.id} {event}")
        case _:
            pass
    yield from ctx.set_state(evolve(state, n=state.n + 1))


@program
def execute(ctx: TaskContext[Count]) -> Do[None, str, Services]:
    state = yield from ctx.state
    yield from note(f"{ctx.id} run {ctx.attempt}" + (" refuse" if ctx.attempt < state.n % 4 else ""))
    yield from ctx.set_state(evolve(state, fired=state.fired + 1))


counts: Task[Any, Any, Any, Any] = Task(
    "counts",
    state=Count,
    event=str,
    initial=Count(),
    on_event=on_event,
    execute=execute,
    retry=Retry(max_attempts=3, delay=Backoff.constant("1 s"), jitter=False),
)


@program
def tick(ctx: ContinuousContext[int]) -> Do[None, str, Services]:
    yield from note(f"{ctx.id} tick")
    yield from ctx.set_state((yield from ctx.state) + 1)


beats = Continuous("beats", state=int, schedule=every("2 s"), execute=tick)


@program
def flush(ctx: DebounceContext[int]) -> Do[None, str, Services]:
    yield from note(f"{ctx.id} flush {yield from ctx.state} {ctx.event_count}")


batches = Debounce("batches", event=int, flush_after="2 s", execute=flush)
go = Signal("go", int)


@program
def steps(ctx: WorkflowContext[int]) -> Do[str, str, Services]:
    yield from note(f"{ctx.id} one")
    got = yield from go.receive()
    yield from sleep("2 s")
    return (yield from note(f"{ctx.id} two {got}"))


flows = Workflow("flows", state=int, run=steps, signals=(go,))
START = datetime(2026, 1, 1, tzinfo=UTC)
JOBS: tuple[Any, ...] = (counts, beats, batches, flows)


# ---------------------------------------------------------------- the interpreter
class Toy:
    """Interprets the definitions over dictionaries, whose rows and transitions are text."""

    def __init__(self, start: datetime) -> None:
        self.ids, self.simulation = 0, Simulation(start=start)
        self.services = Services(self.simulation)
        self.rows: dict[Address, str] = {}
        self.keys: dict[tuple[Address, str], Any] = {}
        self.journals: dict[Address, list[str]] = {}
        self.messages: dict[int, Any] = {}
        self.failed_reads: list[str] = []  # the errors of the next waits for a change

    def inputs(self) -> TurnInputs:
        self.ids += 1 << 20
        return TurnInputs(now_ms=self.simulation.now_ms, jitter=0.5, id_base=self.ids, epoch=1)

    def loaded(self, address: Address, key: str | None = None) -> Loaded:
        row = self.rows.get(address)
        known = None if key is None else self.keys.get((address, key))
        return Loaded(instance=None if row is None else decode_instance(row), remembered=known)

    def write(self, text: str) -> bool:
        transition = decode_transition(text)
        address, write = transition.address, transition.write
        row = self.loaded(address).instance
        if type(write) in (Put, Purge) and transition.expected != (None if row is None else row.fence):
            return False
        if isinstance(write, Put):
            self.ids += 1
            new = write.instance
            self.rows[address] = encode_instance(new if new.incarnation else new.changed(incarnation=self.ids))
        elif isinstance(write, Purge):
            self.rows.pop(address)
            self.journals.pop(address, None)
        if transition.journal is not None:
            kept = [] if transition.journal.earlier == "cut" else self.journals.get(address, [])
            self.journals[address] = [*kept, *transition.journal.bodies]
        self.keys |= {(address, each.key): each for each in transition.remember}
        for settled in () if transition.inbound is None else transition.message_ids:
            self.messages.pop(settled, None)
        self.messages |= {self.ids + n: each for n, each in enumerate(transition.messages, 1)}
        self.ids += len(transition.messages)
        return True

    async def turn(self, job: Any, address: Address, request: Request) -> Any:
        while True:
            loaded = self.loaded(address, request.idempotency_key)
            match decide(job, address, loaded, request, self.inputs(), self.services):
                case Commit(transition, result):
                    assert self.write(encode_transition(transition))
                    return result
                case Mark() as mark:
                    assert self.write(encode_transition(mark.transition))
                    record, runtime = Record(self, address), self.simulation.runtime
                    run = run_claimed(job, mark, request, self.services, record, runtime=runtime, inputs=self.inputs)
                    result = (await run).result
                    return early_answer(mark, request) or result
                case RecoverFirst():
                    await self.turn(job, address, RECOVER)
                case Defer():
                    raise AssertionError("nothing runs beside a turn here")

    async def turn_and_messages(self, job: Any, address: Address, request: Request) -> Any:
        result = await self.turn(job, address, request)
        while self.messages:
            number, message = min(self.messages.items())
            inbound = Inbound(message_id=number, sender=message.sender, sent_ms=message.sent_ms)
            told = attrs.evolve(counts.parse(message.action, message.payload), inbound=inbound)
            await self.turn(counts, message.target, told)
            self.messages.pop(number, None)
        return result

    def request(self, job: Any, id_: str, build: Any, name: str = "request", /) -> Call[Any, Any]:
        return Call(partial(self.turn_and_messages, job, job.address(id_), build(Limits())), name)

    def attempt(self, call: Call[Any, Any]) -> Any:
        async def result() -> Any:
            return await result_of(call)

        return self.simulation.run(result())

    def advance(self, ms: int) -> None:
        end = self.simulation.now_ms + ms
        while due := sorted((row.due_ms, row.incarnation, row) for row in self.stored() if row.due_ms is not None):
            at_ms, _, row = due[0]
            if at_ms > end:
                break
            self.simulation.advance_to(max(self.simulation.now_ms, at_ms))
            job = next(job for job in JOBS if (job.kind, job.name) == (row.address.kind, row.address.name))
            self.simulation.run(self.turn_and_messages(job, row.address, ALARM))
        self.simulation.advance_to(end)

    def stored(self) -> Iterable[Any]:
        return map(decode_instance, self.rows.values())


@frozen
class Record:
    toy: Toy
    address: Address

    async def load(self) -> Loaded:
        return self.toy.loaded(self.address)

    async def write(self, transition: Transition) -> bool:
        return self.toy.write(encode_transition(transition))

    async def journal(self, first: int, limit: int) -> tuple[str, ...]:
        return tuple(self.toy.journals.get(self.address, [])[first : first + limit])

    async def changed(self, version: int) -> None:
        if self.toy.failed_reads:
            raise OSError(self.toy.failed_reads.pop())
        while (row := self.toy.loaded(self.address).instance) is not None and row.version == version:
            await self.toy.simulation.runtime.sleep(100)


# ---------------------------------------------------------------- the law
ids = st.sampled_from(("a", "b"))
keys = st.sampled_from((None, None, "k"))
events = st.sampled_from(("plain", "raise", "fail", "arm", "end", "tell", "note", "refuse"))
operations = st.one_of(
    st.tuples(st.just("counts"), ids, st.just("send"), events, keys),
    st.tuples(st.just("counts"), ids, st.just("trigger")),
    st.tuples(st.just("beats"), ids, st.just("start"), st.just(0)),
    st.tuples(st.just("batches"), ids, st.just("add"), st.just(1)),
    st.tuples(st.just("batches"), ids, st.sampled_from(("flush", "clear"))),
    st.tuples(st.just("flows"), ids, st.just("start"), st.just(0)),
    st.tuples(st.just("flows"), ids, st.just("signal"), st.just(go), st.just(5)),
    st.tuples(st.just("flows"), ids, st.just("cancel"), st.just("no")),
    st.tuples(
        st.sampled_from(("counts", "beats", "batches", "flows")), ids, st.sampled_from(("terminate", "pause", "resume"))
    ),
    st.tuples(st.just("advance"), st.integers(0, 5_000)),
)
BY_NAME = {job.name: job for job in JOBS}


def call_of(handle: Any, id_: str, method: str, *given: Any) -> Any:
    if method == "send":
        event, key = given
        return handle.send(id_, event, idempotency_key=key)
    return getattr(handle, method)(id_, *given)


def shown(result: Any) -> Any:
    return result.unwrap() if isinstance(result, Success) else (type(result.failure()), str(result.failure()))


def facts(row: Any) -> tuple[object, ...]:
    # Without the version: the engine writes two turns in one commit, as one version.
    names = ("address", "status", "state", "alarm_ms", "run_count", "event_count", "suspension")
    return tuple(getattr(row, name) for name in (*names, "journal_length", "created_ms", "updated_ms", "ended_ms"))


EVERYTHING = [
    ("counts", "a", "send", "plain", "k"),
    ("counts", "a", "send", "plain", "k"),
    ("counts", "a", "send", "fail", "k"),
    ("counts", "a", "send", "raise", None),
    ("counts", "b", "send", "refuse", None),
    ("counts", "a", "send", "tell", None),
    ("counts", "a", "send", "arm", None),
    ("beats", "a", "start", 0),
    ("batches", "a", "add", 1),
    ("flows", "a", "start", 0),
    ("advance", 2_000),
    ("flows", "a", "signal", go, 5),
    ("batches", "a", "add", 1),
    ("batches", "a", "flush"),
    ("counts", "a", "pause"),
    ("advance", 5_000),
    ("counts", "a", "resume"),
    ("advance", 5_000),
    ("counts", "a", "trigger"),
    ("counts", "a", "send", "end", None),
    ("beats", "a", "terminate"),
]
RETRIED = [("counts", "a", "send", "plain", None)] * 3 + [
    ("counts", "a", "send", "arm", None),
    ("advance", 3_000),
    ("advance", 1_000),
    ("counts", "a", "resume"),
    ("advance", 5_000),
]


@given(st.lists(operations, max_size=14))
@example(EVERYTHING)
@example(RETRIED)
def test_an_interpreter_over_a_dictionary_agrees_with_the_engine(history: list[Any]) -> None:
    services = Services()
    with World(App(services).with_jobs(*JOBS)) as world:
        toy = Toy(world.now)
        for job, *call in history:
            if job == "advance":
                world.advance(f"{call[0]} ms")
                toy.advance(call[0])
            else:
                definition = BY_NAME[job]
                one = toy.attempt(call_of(definition.handle(cast("Any", toy)), *call))
                other = world.attempt(call_of(world.handle(definition), *call))
                world.settle()
                toy.advance(0)
                assert shown(one) == shown(other)
            assert sorted(map(facts, toy.stored())) == sorted(map(facts, world.instances()))
            assert sorted(toy.services.notes) == sorted(services.notes)


# ---------------------------------------------------------------- transitions as text
SENT = Transition(address=counts.address("a"), expected=None, write=Purge())


def test_a_transition_of_another_format_or_with_an_unknown_member_is_refused() -> None:
    text = encode_transition(SENT)
    assert decode_transition(text) == SENT
    with pytest.raises(InvalidInput, match="expected 1, got 2"):
        decode_transition(text.replace('"format":1', '"format":2'))
    with pytest.raises(InvalidInput, match="more"):
        decode_transition(text.replace('"format":1', '"format":1,"more":1'))
    with pytest.raises(InvalidInput):
        decode_transition(text.replace('"consumed":[]', '"consumed":["1"]'))


# ---------------------------------------------------------------- a claimed run whose row changes
@frozen
class Contested(Record):
    """Lets another turn write the row before the first writes of a run."""

    turns: list[int]

    async def write(self, transition: Transition) -> bool:
        row = (await self.load()).instance
        if self.turns[0] > 0 and row is not None:
            self.turns[0] -= 1
            self.toy.rows[self.address] = encode_instance(row.changed(version=row.version + 1))
        return await super().write(transition)


@program
def trip(ctx: WorkflowContext[int]) -> Do[int, str, Services]:
    for leg in range(3):
        yield from note(f"{ctx.id} leg {leg}")
    return 3


trips = Workflow("trips", state=int, run=trip)


def begun(toy: Toy, job: Any, action: str, payload: str) -> tuple[Mark, Request]:
    request = job.parse(action, payload)
    mark = decide(job, job.address("a"), toy.loaded(job.address("a")), request, toy.inputs(), toy.services)
    assert isinstance(mark, Mark)
    assert toy.write(encode_transition(mark.transition))
    return mark, request


def run(toy: Toy, job: Any, mark: Mark, request: Request, record: Record) -> Any:
    inputs, runtime = toy.inputs, toy.simulation.runtime
    return toy.simulation.run(run_claimed(job, mark, request, toy.services, record, runtime=runtime, inputs=inputs))


@pytest.mark.parametrize("job", [trips, flows])
def test_a_checkpoint_and_an_end_are_decided_again_twenty_times(job: Any) -> None:
    """The first write of a trip is a checkpoint, and that of a flow is the end of its run."""
    toy = Toy(START)
    mark, request = begun(toy, job, "start", "0")
    run(toy, job, mark, request, Contested(toy, job.address("a"), [20]))
    assert next(iter(toy.stored())).claim is None
    toy = Toy(START)
    mark, request = begun(toy, job, "start", "0")
    with pytest.raises(Conflict):
        run(toy, job, mark, request, Contested(toy, job.address("a"), [21]))


def test_a_hook_that_raises_before_there_is_a_program_is_an_answer() -> None:
    def initial(_: str) -> Count:
        raise ZeroDivisionError

    broken = Task("broken", state=Count, event=str, initial=initial, on_event=on_event)
    toy = Toy(START)
    answer = toy.attempt(broken.handle(cast("Any", toy)).send("a", "plain"))
    assert type(answer.failure()) is HookRaised
    assert "ZeroDivisionError" in str(answer.failure())


def test_a_run_whose_claim_another_delivery_took_does_not_begin() -> None:
    toy, address = Toy(START), counts.address("a")
    mark, request = begun(toy, counts, "send", '"note"')
    row = toy.loaded(address).instance
    assert row is not None
    assert row.event_claim is not None
    claim = attrs.evolve(row.event_claim, owner=7)
    again = recover(counts, row.changed(event_claim=claim), claim, toy.inputs())
    assert isinstance(again, Mark)
    assert toy.write(encode_transition(again.transition))
    with pytest.raises(Conflict):
        run(toy, counts, mark, request, Record(toy, address))
    assert toy.services.notes == []
    run(toy, counts, again, RECOVER, Record(toy, address))
    assert toy.services.notes == ["a note"]


@program
def slow(ctx: TaskContext[Count], _: str) -> Do[None, str, Services]:
    yield from note(f"{ctx.id} begins")
    yield from sleep("1 minute")


limited: Task[Any, Any, Any, Any] = Task(
    "limited", state=Count, event=str, initial=Count(), on_event=slow, run_timeout="5 s"
)


@program
def interrupted(ctx: TaskContext[Count], event: str) -> Do[None, str, Services]:
    yield from note(event) if event else ctx.set_state(Count(n=1))
    raise KeyboardInterrupt


breaks: Task[Any, Any, Any, Any] = Task("breaks", state=Count, event=str, initial=Count(), on_event=interrupted)


def test_an_interrupt_from_the_keyboard_is_no_failure() -> None:
    toy = Toy(START)
    address, loaded, inputs = breaks.address("a"), Loaded(), toy.inputs()
    with pytest.raises(KeyboardInterrupt):
        decide(breaks, address, loaded, breaks.parse("send", '""'), inputs, toy.services)
    mark, request = begun(toy, breaks, "send", '"x"')
    with pytest.raises(KeyboardInterrupt):
        run(toy, breaks, mark, request, Record(toy, address))
    assert next(iter(toy.stored())).event_claim == mark.claim


def test_a_run_has_the_time_limit_of_its_job() -> None:
    toy = Toy(START)
    mark, request = begun(toy, limited, "send", '"x"')
    assert type(run(toy, limited, mark, request, Record(toy, limited.address("a"))).result.failure()) is RunTimeout
    assert toy.simulation.now_ms == START.timestamp() * 1000 + 5_000
    assert list(toy.stored()) == []


@program
def hanging(_: WorkflowContext[int]) -> Do[None, str, Services]:
    yield from hang()


@effect
async def hang(services: Services) -> Result[None, str]:
    services.notes.append("begins")
    await services.simulation.runtime.sleep(60_000)
    services.notes.append("ends")
    return Success(None)


hangs = Workflow("hangs", state=int, run=hanging)


@pytest.mark.parametrize(
    ("how", "failures", "seconds", "form"),
    [("interrupt", 0, 1, "cancelled"), ("wait", 0, 60, "done"), ("interrupt", 8, 16, "cancelled")],
)
def test_only_a_cancellation_that_interrupts_stops_a_step_in_progress(
    how: str, failures: int, seconds: int, form: str
) -> None:
    """Also when the row cannot be read for a while: pauses of 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5 and 5 s."""
    toy, address = Toy(START), hangs.address("a")
    toy.failed_reads += ["no connection"] * failures
    runtime = toy.simulation.runtime

    async def both() -> None:
        run = runtime.spawn(toy.turn(hangs, address, hangs.parse("start", "0")), name="run")
        await runtime.sleep(1_000)
        row = toy.loaded(address).instance
        assert row is not None
        assert row.claim is not None
        cancel = hangs.parse("cancel", '{"reason": "no", "interrupt": true}' if how == "interrupt" else '"no"')
        inputs = attrs.evolve(toy.inputs(), running=(row.claim.run_id,))
        step = decide(hangs, address, Loaded(instance=row), cancel, inputs, toy.services)
        assert isinstance(step, Commit)
        assert toy.write(encode_transition(step.transition))
        await ended(run, runtime)

    toy.simulation.run(both())
    toy.simulation.run(toy.turn(hangs, address, ALARM))
    assert toy.services.notes == (["begins"] if how == "interrupt" else ["begins", "ends"])
    assert START.timestamp() + seconds <= toy.simulation.now_ms / 1000 < START.timestamp() + seconds + 1
    assert len(toy.simulation.logs) == (failures > 0), toy.simulation.logs
    outcome = hangs.outcome_of(next(iter(toy.stored())))
    assert outcome is not None
    assert outcome.form == form


@effect(limits=[Limit("mails", concurrency=1)])
def mail(services: Services) -> Result[None, str]:
    services.notes.append("mail")
    return Success(None)


@program
def mailing(_: TaskContext[Count], __: str) -> Do[None, str, Services]:
    yield from {"mail": mail}["mail"]()


mails: Task[Any, Any, Any, Any] = Task("mails", state=Count, event=str, initial=Count(), on_event=mailing)


def test_an_effect_with_limits_fails_its_run_because_no_engine_counts_its_calls() -> None:
    toy = Toy(START)
    mark, request = begun(toy, mails, "send", '"x"')
    failed = run(toy, mails, mark, request, Record(toy, mails.address("a"))).result.failure()
    assert "DefinitionError: limits of the effect mail" in str(failed)
    assert toy.services.notes == []
