"""Each law of the state machine goes red, and it alone: for each there is a store, or a job, that violates only it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, get_args

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from one_by_one import each_commit, each_load
from returns.result import Result
from test_job_machine import QUICK, Add, Count, Log, Reset, counter, counter_with_effects, decide

from perdure import Continuous, Decision, every, succeed
from perdure.jobs.plan import ANSWERS
from perdure.programs.future import answer_of, asked
from perdure.runtime.record import Runtime
from perdure.stores.contract import Store, commit_one, load_one, overlay
from perdure.stores.memory import MemoryBackend
from perdure.testing import Crash, InvariantViolated, JobMachine
from perdure.testing.job_laws import DrawnRequest, InvariantMonitor, Law, SentRequest
from perdure.testing.machine import Model
from perdure.testing.world import TraceEvent
from perdure.testing.world.trace import MessagesRead, TransitionCommitted
from perdure.values.address import Address
from perdure.values.answer import RunAnswer
from perdure.values.instance import Claim, Fence, Instance
from perdure.values.message import Consumed, Message, StoredMessage
from perdure.values.transition import KeepInstance, Loaded, Purge, Put, Remembered, Transition

Opener = Callable[[Runtime], Awaitable[Store]]


def opener(broken: Callable[[Store], Store]) -> Callable[[], Opener]:
    """A store in memory with one thing wrong; empty for each example."""

    def empty() -> Opener:
        backend = MemoryBackend()

        async def opened(_: Runtime) -> Store:
            return broken(backend.open())

        return opened

    return empty


def committing(change: Callable[[Transition], Transition]) -> Callable[[Store], Store]:
    """A store that writes something else than it was given."""
    return lambda store: overlay(store, commit=lambda given, answered: store.commit(list(map(change, given)), answered))


def loading(change: Callable[[Loaded], Loaded]) -> Callable[[Store], Store]:
    """A store that returns something else than it holds."""
    return lambda store: overlay(
        store,
        load=lambda asked, answered: store.load(asked, lambda found: answered([each.map(change) for each in found])),
    )


def found(broken: Callable[[Store], Store], job: Any = None, **options: Any) -> str:
    given: dict[str, Any] = {"services": object, "types": {int: st.integers(0, 60)}, "mishaps": "none"}
    with pytest.raises(InvariantViolated) as caught:
        JobMachine(job=job or counter(), store=opener(broken), **given | options).run(QUICK)
    return caught.value.law


def test_a_store_with_nothing_wrong_breaks_no_law() -> None:
    machine = JobMachine(job=counter(), services=object, types={int: st.integers(0, 60)}, store=opener(lambda s: s))
    machine.run(QUICK)


# ---------------------------------------------------------------- stores with one thing wrong
def forgets_keys() -> str:
    return found(loading(lambda loaded: attrs.evolve(loaded, remembered=None)), commands=("trigger",))


ABSENT = ANSWERS.encode(RunAnswer(found="absent")).decode()


def answers_for_nothing() -> str:
    """It remembers an answer for every key, also of requests that were never made."""

    def answered(store: Store) -> Store:
        def load(address: Any, key: Any, now_ms: int) -> Any:
            return load_one(store, address, key, now_ms).map(lambda loaded: remembering(loaded, key))

        return overlay(store, load=each_load(load))

    def remembering(loaded: Loaded, key: str | None) -> Loaded:
        if key is None or loaded.remembered is not None:
            return loaded
        made = Remembered(key=key, action="pause", fingerprint="", answer=ABSENT, expires_ms=1 << 50)
        return attrs.evolve(loaded, remembered=made)

    return found(answered, commands=("pause",))


def remembers_another_answer() -> str:
    def other(loaded: Loaded) -> Loaded:
        if loaded.remembered is None:
            return loaded
        return attrs.evolve(loaded, remembered=attrs.evolve(loaded.remembered, answer=ABSENT))

    return found(loading(other), commands=("send",))


def returns_an_old_state() -> str:
    def stale(store: Store) -> Store:
        earlier: dict[Address, Loaded] = {}

        def load(address: Any, key: Any, now_ms: int) -> Any:
            def late(loaded: Loaded) -> Loaded:
                before = earlier.get(address, loaded)
                earlier[address] = loaded
                return before

            return load_one(store, address, key, now_ms).map(late)

        async def commit(transition: Transition) -> Any:
            now = (await answer_of(load_one(store, transition.address, None, 0))).unwrap().instance
            fence = None if now is None else Fence(now.incarnation, now.version)
            return await answer_of(commit_one(store, attrs.evolve(transition, expected=fence)))

        return overlay(store, load=each_load(load), commit=each_commit(lambda transition: asked(commit(transition))))

    return found(stale, commands=("send",))


def counts_no_incarnations() -> str:
    """It calls each life of an address its first, and knows better inside."""

    def first(loaded: Loaded) -> Loaded:
        instance = loaded.instance
        return loaded if instance is None else attrs.evolve(loaded, instance=attrs.evolve(instance, incarnation=1))

    def same(store: Store) -> Store:
        async def commit(transition: Transition) -> Any:
            now = (await answer_of(load_one(store, transition.address, None, 0))).unwrap().instance
            expected, write = transition.expected, transition.write
            if now is not None and expected is not None:
                expected = Fence(now.incarnation, expected.version)
                if isinstance(write, Put):
                    write = Put(attrs.evolve(write.instance, incarnation=now.incarnation))
            elif isinstance(write, Put):
                write = Put(attrs.evolve(write.instance, incarnation=0))
            stored = await answer_of(commit_one(store, attrs.evolve(transition, expected=expected, write=write)))
            return stored.map(lambda fence: attrs.evolve(fence, incarnation=min(fence.incarnation, 1)))

        return overlay(
            store,
            load=each_load(lambda *given: load_one(store, *given).map(first)),
            commit=each_commit(lambda transition: asked(commit(transition))),
        )

    return found(same, ids=("a",), commands=("send", "terminate"))


def counts_no_deliveries() -> str:
    def uncounted(loaded: Loaded) -> Loaded:
        instance = loaded.instance
        if instance is None or instance.event_claim is None:
            return loaded
        claim = attrs.evolve(instance.event_claim, deliveries=instance.event_claim.deliveries - 1)
        return attrs.evolve(loaded, instance=attrs.evolve(instance, event_claim=claim))

    job = counter_with_effects()
    return found(loading(uncounted), job, services=Log, mishaps="drawn", faults=st.just(Crash("write", when="after")))


def keeps_no_alarm() -> str:
    def silent(transition: Transition) -> Transition:
        if not isinstance(transition.write, Put):
            return transition
        return attrs.evolve(transition, write=Put(attrs.evolve(transition.write.instance, alarm_ms=None)))

    job = Continuous(
        "hourly",
        state=Count,
        schedule=every("1 hour"),
        execute=lambda ctx: succeed(None),
        start_immediately=False,
    )
    return found(committing(silent), job, commands=("start",))


def finds_no_alarm() -> str:
    def silent(store: Store) -> Store:
        return overlay(
            store,
            due=lambda now_ms, limit, after=None, except_jobs=(): store.due(0, limit, after, except_jobs),
            next_alarm=lambda now_ms: store.next_alarm(now_ms).map(lambda _: None),
        )

    return found(silent, durations=("2 hours",), commands=("send",))


def leaves_a_timer() -> str:
    """Each commit sets a timer that nothing cancels."""

    def empty() -> Opener:
        backend = MemoryBackend()

        async def opened(runtime: Runtime) -> Store:
            store = backend.open()

            def commit(transitions: Any, answered: Any) -> None:
                runtime.call_later(10**12, lambda: None)
                store.commit(transitions, answered)

            return overlay(store, commit=commit)

        return opened

    with pytest.raises(InvariantViolated) as caught:
        JobMachine(
            job=counter(), services=object, types={int: st.integers(0, 60)}, mishaps="none", store=empty, ids=("a",)
        ).run(settings(QUICK, stateful_step_count=2))
    return caught.value.law


# ---------------------------------------------------------------- jobs with one thing wrong
def forgets_state_that_its_model_keeps() -> str:
    def forgets(count: Count, event: Add | Reset) -> Result[Decision[Count], str]:
        return decide(count, event).map(lambda made: attrs.evolve(made, state=Count()))

    return found(lambda store: store, counter(forgets), model=Model(Count(), decide))


def exceeds_an_invariant() -> str:
    return found(lambda store: store, invariants=(lambda view: view.state.total < 60,))


# ---------------------------------------------------------------- violations no store causes in a correct engine
AT, OTHER = Address("task", "counter", "a"), Address("task", "counter", "b")


def heard(ledger: InvariantMonitor, event: Any) -> None:
    ledger.watch(TraceEvent(0, 1, event))


def only(ledger: InvariantMonitor) -> str:
    with pytest.raises(InvariantViolated):
        ledger.check()
    (broken,) = ledger.broken
    return broken.law


def taken(message_id: int) -> TransitionCommitted:
    transition = Transition(address=OTHER, expected=None, write=KeepInstance(), inbound=Consumed(message_id))
    return TransitionCommitted(transition, Fence(0, 0))


def mail(*message_ids: int) -> MessagesRead:
    message = Message(sender=AT, target=OTHER, action="send", payload="{}", sent_ms=0)
    return MessagesRead(tuple(StoredMessage(message_id=each, message=message) for each in message_ids))


def takes(*message_ids: int) -> str:
    ledger = InvariantMonitor(None)
    heard(ledger, mail(1, 2))
    for message_id in message_ids:
        ledger.check()
        heard(ledger, taken(message_id))
    return only(ledger)


def keeps_a_terminated_instance() -> str:
    ledger = InvariantMonitor(None, made={"k": SentRequest(DrawnRequest("terminate", "b"), "k", 0)})
    instance = Instance(address=OTHER, created_ms=0, updated_ms=0, data="")
    remembered = Remembered(key="k", action="terminate", fingerprint="", answer="", expires_ms=1)
    stays = Transition(address=OTHER, expected=None, write=Put(instance), remember=(remembered,))
    heard(ledger, TransitionCommitted(stays, Fence(1, 1)))
    return only(ledger)


def draws_another_id() -> str:
    ledger = InvariantMonitor(None)
    for number in (1, 2):
        claim = Claim(owner=1, cause="event", run_id=f"run-{number}", claimed_ms=0, action="send", key="k")
        claimed = Instance(address=OTHER, created_ms=0, updated_ms=0, incarnation=number, event_claim=claim)
        put = Transition(address=OTHER, expected=None, write=Put(claimed))
        heard(ledger, TransitionCommitted(put, Fence(number, 1)))
        gone = Transition(address=OTHER, expected=Fence(number, 1), write=Purge())
        heard(ledger, TransitionCommitted(gone, Fence(0, 0)))
    return only(ledger)


def follows_no_journal() -> str:
    ledger = InvariantMonitor(None)
    ledger.note("a program follows its own journal", "it waits for another step")
    return only(ledger)


SABOTAGE: dict[Law, Callable[[], str]] = {
    "a program follows its own journal": follows_no_journal,
    "an accepted request changes the state once": forgets_keys,
    "an acknowledged request is stored": answers_for_nothing,
    "a repeat with its key gets the first answer and changes nothing": remembers_another_answer,
    "transitions of an instance follow each other": returns_an_old_state,
    "a successor is another incarnation": counts_no_incarnations,
    "a run that is delivered again is marked": counts_no_deliveries,
    "a run that is repeated has one id": draws_another_id,
    "a message arrives once": lambda: takes(1, 1),
    "messages of a pair arrive in order": lambda: takes(2, 1),
    "a terminated instance is gone": keeps_a_terminated_instance,
    "an unfinished instance has an alarm or is held": keeps_no_alarm,
    "nothing is left half-done": finds_no_alarm,
    "the engine comes to rest": leaves_a_timer,
    "the job does what its model does": forgets_state_that_its_model_keeps,
    "an invariant of the test": exceeds_an_invariant,
}


def test_every_law_is_violated_by_one_of_them() -> None:
    assert set(SABOTAGE) == set(get_args(Law))


@pytest.mark.parametrize("law", SABOTAGE)
def test_a_violation_of_one_law_is_reported_by_that_law_only(law: Law) -> None:
    assert SABOTAGE[law]() == law
