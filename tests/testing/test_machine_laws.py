"""Each law of the state machine goes red: an engine over a store that is broken in one way breaks one of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
from hypothesis import strategies as st
from test_job_machine import QUICK, Add, Count, Log, Reset, counter, on_event

from perdure import Task
from perdure.jobs.plan import ANSWERS
from perdure.programs.future import answer_of, asked
from perdure.runtime.record import Runtime
from perdure.stores.memory import MemoryBackend
from perdure.stores.store import Store
from perdure.testing import Crash, InvariantViolated, JobMachine
from perdure.testing.machine.monitor import InvariantMonitor
from perdure.testing.machine.requests import DrawnRequest, SentRequest
from perdure.testing.world import TraceEvent
from perdure.testing.world.trace_event import MessagesRead, TransitionCommitted
from perdure.values.address import Address
from perdure.values.answer import RunAnswer
from perdure.values.instance import Fence, Instance
from perdure.values.message import Consumed, Message, StoredMessage
from perdure.values.transition import KeepInstance, Loaded, Put, Remembered, Transition

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
    return lambda store: attrs.evolve(store, commit=lambda transition: store.commit(change(transition)))


def loading(change: Callable[[Loaded], Loaded]) -> Callable[[Store], Store]:
    """A store that gives something else than it holds."""
    return lambda store: attrs.evolve(store, load=lambda *asked: store.load(*asked).map(change))


def found(broken: Callable[[Store], Store], job: Any = None, **options: Any) -> str:
    given: dict[str, Any] = {"services": object, "types": {int: st.integers(0, 60)}, "mishaps": "none"}
    with pytest.raises(InvariantViolated) as caught:
        JobMachine(job=job or counter(), store=opener(broken), **given | options).run(QUICK)
    return caught.value.law


def test_a_store_with_nothing_wrong_breaks_no_law() -> None:
    machine = JobMachine(job=counter(), services=object, types={int: st.integers(0, 60)}, store=opener(lambda s: s))
    machine.run(QUICK)


def test_a_key_that_is_forgotten_applies_a_request_twice() -> None:
    assert found(committing(lambda transition: attrs.evolve(transition, remember=None))) in {
        "an accepted request changes the state once",
        "a repeat with its key gets the first answer and changes nothing",
    }


def test_an_answer_for_which_nothing_was_stored_is_found() -> None:
    answer = ANSWERS.encode(RunAnswer(found="absent")).decode()

    def answered(store: Store) -> Store:
        def load(address: Any, key: Any, now_ms: int) -> Any:
            return store.load(address, key, now_ms).map(lambda loaded: remembering(loaded, address, key))

        return attrs.evolve(store, load=load)

    def remembering(loaded: Loaded, address: Address, key: str | None) -> Loaded:
        if key is None or loaded.remembered is not None:
            return loaded
        made = Remembered(key=key, action="trigger", fingerprint="", answer=answer, expires_ms=1 << 50)
        return attrs.evolve(loaded, remembered=made)

    assert found(answered, commands=("trigger",)) == "an acknowledged request is stored"


def test_a_store_that_gives_what_is_out_of_date_is_found() -> None:
    def stale(store: Store) -> Store:
        earlier: dict[Address, Loaded] = {}

        def load(address: Any, key: Any, now_ms: int) -> Any:
            def late(loaded: Loaded) -> Loaded:
                before = earlier.get(address, loaded)
                earlier[address] = loaded
                return before

            return store.load(address, key, now_ms).map(late)

        async def commit(transition: Transition) -> Any:
            now = (await answer_of(store.load(transition.address, None, 0))).unwrap().instance
            fence = None if now is None else Fence(now.incarnation, now.version)
            return await answer_of(store.commit(attrs.evolve(transition, expected=fence)))

        return attrs.evolve(store, load=load, commit=lambda transition: asked(commit(transition)))

    assert found(stale, commands=("send",)) == "transitions of an instance follow each other"


def test_an_incarnation_that_comes_back_is_found() -> None:
    def same(store: Store) -> Store:
        return attrs.evolve(
            store, commit=lambda given: store.commit(given).map(lambda fence: attrs.evolve(fence, incarnation=1))
        )

    assert found(same, ids=("a",), commands=("send", "terminate")) in {
        "a successor is another incarnation",
        "transitions of an instance follow each other",
    }


def test_a_delivery_that_is_not_counted_is_found() -> None:
    def uncounted(loaded: Loaded) -> Loaded:
        instance = loaded.instance
        if instance is None or instance.event_claim is None:
            return loaded
        claim = attrs.evolve(instance.event_claim, deliveries=instance.event_claim.deliveries - 1)
        return attrs.evolve(loaded, instance=attrs.evolve(instance, event_claim=claim))

    job = Task("counter", state=Count, event=Add | Reset, initial=Count(), on_event=on_event)
    law = found(loading(uncounted), job, services=Log, mishaps="drawn", faults=st.just(Crash("write", when="after")))
    assert law == "a run that is delivered again is marked"


def test_alarms_that_nobody_is_woken_by_are_found() -> None:
    def silent(store: Store) -> Store:
        return attrs.evolve(
            store,
            due=lambda now_ms, limit: store.due(0, limit),
            next_alarm=lambda now_ms: store.next_alarm(now_ms).map(lambda _: None),
        )

    assert found(silent, durations=("2 hours",), commands=("send",)) == "nothing is left half-done"


AT, OTHER = Address("task", "counter", "a"), Address("task", "counter", "b")


def heard(ledger: InvariantMonitor, what: Any) -> None:
    ledger.watch(TraceEvent(0, 1, what))


def taken(message_id: int) -> TransitionCommitted:
    transition = Transition(address=OTHER, expected=None, write=KeepInstance(), inbound=Consumed(message_id))
    return TransitionCommitted(transition, Fence(0, 0))


def mail(*message_ids: int) -> MessagesRead:
    message = Message(sender=AT, target=OTHER, action="send", payload="{}", sent_ms=0)
    return MessagesRead(tuple(StoredMessage(message_id=each, message=message) for each in message_ids))


def test_a_message_that_comes_twice_or_late_is_found() -> None:
    for order, law in (((1, 1), "a message arrives once"), ((2, 1), "messages of a pair arrive in order")):
        ledger = InvariantMonitor(None)
        heard(ledger, mail(1, 2))
        for message_id in order:
            ledger.check()
            heard(ledger, taken(message_id))
        with pytest.raises(InvariantViolated) as caught:
            ledger.check()
        assert caught.value.law == law


def test_a_terminated_instance_that_stays_is_found() -> None:
    ledger = InvariantMonitor(None, made={"k": SentRequest(DrawnRequest("terminate", "b"), "k", 0)})
    instance = Instance(address=OTHER, created_ms=0, updated_ms=0, data="")
    remembered = Remembered(key="k", action="terminate", fingerprint="", answer="", expires_ms=1)
    stays = Transition(address=OTHER, expected=None, write=Put(instance), remember=remembered)
    heard(ledger, TransitionCommitted(stays, Fence(1, 1)))
    with pytest.raises(InvariantViolated, match="a terminated instance is gone"):
        ledger.check()
