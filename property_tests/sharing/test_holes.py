"""The rules of shared stores that simulations of several engines have found, one scenario each."""

from collections import Counter

import attrs
import pytest
from crowd import piles, plain
from machine import Add, Call, Mark, NoAlarm, OnAlarm, Tell, Wait, machine, steps
from returns.result import Success

from perdure import App, Limits
from perdure.client.local_gateway import engine_of
from perdure.jobs.recovery import MAX_RECOVERIES, RELEASED, is_event_between, release
from perdure.testing import World
from perdure.testing.cluster import Cluster, ClusterEngine
from perdure.testing.world.trace import EffectPerformed, MessagesRead, TraceEvent
from perdure.values.instance import Claim, Instance
from perdure.values.transition import Put
from perdure.values.turn_inputs import NO_OTHERS, OtherEngines, TurnInputs


@attrs.define
class Slow:
    """An external system that takes a while, the same for all engines.

    Attributes:
        cluster: has the clock.
        ms: how long it takes.
        heard: the words, in order.
    """

    cluster: Cluster = attrs.field(init=False)
    ms: float = 1_000
    heard: list[str] = attrs.Factory(list[str])

    @property
    def outside(self):
        return self

    async def hear(self, word: str):
        self.heard.append(word)
        await self.cluster.runtime.sleep(self.ms)
        return Success(None)


class Scene:
    """A cluster of engines over one slow external system."""

    def __init__(self, *, ms: float = 1_000, latency: str = "4 ms") -> None:
        self.slow = Slow(ms)
        app = App(self.slow, limits=Limits(shutdown_timeout="2 s")).with_jobs(machine, piles)
        self.cluster = self.slow.cluster = Cluster(app, latency=latency)

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        self.cluster.__exit__(*raised)

    @property
    def heard(self) -> list[str]:
        return self.slow.heard

    def open(self, count: int = 1) -> list[ClusterEngine]:
        """Open engines, and let them know of each other."""
        engines = [self.cluster.open() for _ in range(count)]
        self.cluster.advance("1500 ms")
        return engines

    def hears(self, word: str) -> None:
        """Run until the external system hears a word."""
        assert self.cluster.run_until(lambda: word in map(plain, self.heard)), f"{word} not in {self.heard}"

    def is_settled(self) -> bool:
        """Whether no claim, alarm or message is left after two minutes."""
        self.cluster.advance("120 s")
        rows = self.cluster.instances()
        left = self.cluster.inspect(lambda store: store.messages(1 << 52, 1_000))
        return not left and all(row.owner is None and row.due_ms is None for row in rows)


def owner_of(scene: Scene, engines: list[ClusterEngine], id_: str) -> tuple[ClusterEngine, ClusterEngine]:
    """Return the engine whose share has a pile, and another one."""
    (due,) = [engine for engine in engines if piles.address(id_) in share(engine)]
    (other,) = [engine for engine in engines if engine is not due]
    return due, other


def share(engine: ClusterEngine):
    """Return the share of an engine."""
    assert engine.client is not None
    membership = engine_of(engine.client).membership
    assert membership is not None
    return membership.share


def send(id_: str, *given, key: str | None = None):
    return lambda client: client.handle(machine).send(id_, steps(*given), idempotency_key=key)


def add(id_: str, number: int, key: str | None = None):
    return lambda client: client.handle(piles).add(id_, number, idempotency_key=key)


@pytest.mark.parametrize("action", ["send", "trigger"])
def test_a_claim_for_a_message_that_another_engine_consumed_is_not_written(action):
    """The engine that sent a message reads it, and freezes; the share of its target delivers it meanwhile."""
    with Scene(ms=5) as scene:
        sender, other = scene.open(2)
        id_ = next(str(n) for n in range(99) if machine.address(str(n)) in share(other))
        scene.cluster.run_on(
            other, lambda client: client.handle(machine).send(id_, OnAlarm(3_600_000, (Mark("m"), NoAlarm())))
        )
        froze = list[TraceEvent]()

        def freeze_at_the_message(event: TraceEvent) -> None:
            if isinstance(event.what, MessagesRead) and event.worker == sender.number and not froze:
                froze.append(event)
                sender.freeze("2500 ms")

        scene.cluster.watch(freeze_at_the_message)
        told = Tell(id_, (Mark("m"), NoAlarm())) if action == "send" else Call(id_, "trigger")
        sender.call(send("sender", told))
        scene.hears("m")
        assert froze, "the sender froze with the message in its hand"
        assert scene.is_settled()
        assert scene.heard == ["m#1.1"], "the message is handled once"


@pytest.mark.parametrize("end", ["lives", "killed"])
def test_the_end_of_a_flush_waits_for_an_event_of_another_engine(end):
    """A flush that ended during the event would write over its claim, or purge it: the event would repeat unmarked."""
    with Scene(ms=1_000) as scene:
        engines = scene.open(2)
        due, other = owner_of(scene, engines, "a")
        scene.cluster.run_on(due, add("a", 1))
        scene.hears("batch 1")  # the flush takes a second from here
        scene.cluster.advance("500 ms")
        ringing = other.call(add("a", -2, key="ring"))
        scene.hears("ring -2")
        if end == "killed":
            other.crash()
            scene.cluster.run_on(due, add("a", -2, key="ring"))
        else:
            scene.cluster.run_until(ringing.done)
        assert scene.is_settled()
        assert [word for word, count in Counter(scene.heard).items() if count > 1] == [], "each repeat is marked"
        flushed = {word for word in map(plain, scene.heard) if word.startswith("batch")}
        assert flushed == {"batch 1", "batch -2"}, "each number is flushed"


def test_a_newcomer_is_not_taken_for_dead():
    """An engine that joined since the last heartbeat runs a program; an elder gets a request for that instance."""
    with Scene(ms=700) as scene:
        (elder,) = scene.open()
        newcomer = scene.cluster.open()
        newcomer.call(send("a", Mark("w"), Add(1)))
        scene.hears("w")
        scene.cluster.run_on(elder, send("a", Add(1)))
        assert scene.heard == ["w#1.1"], "the elder does not recover the run of a living engine"
        assert scene.is_settled()


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_resume_does_not_free_a_claim_that_is_being_run(where):
    """Pause and resume during a flush: the flush is not performed a second time beside itself."""
    with Scene(ms=1_500) as scene:
        engines = scene.open(2)
        due, other = owner_of(scene, engines, "a")
        caller = due if where == "here" else other
        scene.cluster.run_on(due, add("a", 1))
        scene.hears("batch 1")
        scene.cluster.run_on(caller, lambda client: client.handle(piles).pause("a"))
        scene.cluster.run_on(caller, lambda client: client.handle(piles).resume("a"))
        assert scene.is_settled()
        assert scene.heard == ["batch 1#1.1"]


def test_the_claim_of_a_dead_engine_is_not_written_over_either():
    claim = Claim(owner=2, cause="event", run_id="r", claimed_ms=0)
    row = Instance(address=machine.address("a"), created_ms=0, updated_ms=0, event_claim=claim)
    for living in (frozenset({2}), frozenset[int]()):
        others = OtherEngines(living, known_up_to=2, me=1)
        assert is_event_between(row, (), others), "the event is handled, or recovered, first"
        assert not is_event_between(row, ("r",), others), "it is handled here: the end of the run merges with it"
    assert is_event_between(row, (), NO_OTHERS), "the event of a predecessor is recovered first"
    assert not is_event_between(row, ("r",), NO_OTHERS)
    parked = row.changed(suspension="recovery_exhausted", event_claim=attrs.evolve(claim, recoveries=MAX_RECOVERIES))
    assert not is_event_between(parked, (), NO_OTHERS), "an operator decides on it, perhaps never"


def test_a_terminate_waits_for_the_run_of_another_engine():
    with Scene(ms=1_000) as scene:
        first, second = scene.open(2)
        sending = first.call(send("a", Mark("w"), Add(1)))
        scene.hears("w")
        scene.cluster.run_on(second, lambda client: client.handle(machine).terminate("a"))
        assert sending.done(), "the run has ended"
        assert isinstance(sending.result(), Success)
        assert scene.cluster.instances() == ()


def test_a_stopping_engine_does_not_release_a_claim_that_another_took_over():
    claim = Claim(owner=2, cause="event", run_id="r", claimed_ms=0)
    row = Instance(address=machine.address("a"), created_ms=0, updated_ms=0, event_claim=claim)
    inputs = TurnInputs(
        now_ms=1, jitter=0, id_base=1, epoch=1, others=OtherEngines(frozenset({2}), known_up_to=2, me=1)
    )
    assert release(row, "r", inputs).transition.is_empty
    released = release(row, "r", attrs.evolve(inputs, epoch=2)).transition.write
    assert isinstance(released, Put)
    assert released.instance.event_claim is not None
    assert released.instance.event_claim.owner == RELEASED


def test_an_engine_whose_lease_has_ended_performs_nothing_more_and_stops():
    """It is cut off from the store during a run of two effects; another engine takes the run over, with a mark."""
    with Scene(ms=3_000) as scene:
        first, second = scene.open(2)
        first.call(send("a", Mark("one"), Mark("two"), Add(1), key="k"))
        scene.hears("one")
        effects = list[tuple[int, str]]()

        def note(event: TraceEvent) -> None:
            if isinstance(event.what, EffectPerformed):
                effects.append((event.worker, event.what.call.args[0]))

        scene.cluster.watch(note)
        first.cut_off("60 s")
        scene.cluster.run_on(second, send("a", Mark("one"), Mark("two"), Add(1), key="k"))
        assert first.is_over, "it has stopped by itself"
        assert [word for number, word in effects if number == first.number] == []
        assert [word for number, word in effects if number == second.number] == ["one#1.2", "two#1.2"]
        closed = first.close()
        assert scene.cluster.run_until(closed.done, patience="120 s"), "nothing of the refused run is left"
        assert scene.is_settled()


def test_a_frozen_engine_that_wakes_after_its_lease_writes_nothing():
    """Its program continues before the timer of its lease fires."""
    with Scene(ms=3_000, latency="0 ms") as scene:
        first, second = scene.open(2)
        first.call(send("a", Mark("w"), Mark("v"), Add(1), key="k"))
        scene.hears("w")
        first.freeze("20 s")
        scene.cluster.run_on(second, send("a", Mark("w"), Mark("v"), Add(1), key="k"))
        scene.cluster.advance("30 s")
        assert first.is_over
        assert scene.heard == ["w#1.1", "w#1.2", "v#1.2"], "it does not begin its next effect"
        assert scene.is_settled()
        (row,) = scene.cluster.instances()
        assert '"total":1' in row.state.replace(" ", "")


@pytest.mark.parametrize("after_ms", [100, 350, 600, 850])
def test_the_runs_of_a_killed_engine_are_taken_over_when_its_lease_ends(after_ms):
    """Whenever it dies between two heartbeats: another engine looks when the lease ends."""
    with Scene(ms=100) as scene:
        (first,) = scene.open()
        scene.open()  # half a heartbeat later
        scene.cluster.advance(f"{after_ms} ms")
        first.call(send("a", Wait(60_000), Mark("w"), Add(1), key="k"))  # no effect yet: nothing to take over
        first.call(send("b", Mark("begun"), Wait(60_000), Add(1), key="b"))
        scene.hears("begun")
        killed_ms = scene.cluster.now_ms
        first.crash()
        assert scene.cluster.run_until(lambda: "begun#1.2" in scene.heard, patience="20 s")
        assert scene.cluster.now_ms - killed_ms <= 4_000 + 150
        assert "w#1.1" not in scene.heard


def test_a_client_lists_the_engines_and_an_owned_store_has_none():
    with Scene() as scene:
        first, second = scene.open(2)
        found = scene.cluster.run_on(first, lambda client: client.members())
        assert [member.epoch for member in found] == [first.epoch, second.epoch]
        assert {(job.kind, job.name, job.state_version) for job in found[1].served} == {
            ("task", "machine", 1),
            ("debounce", "piles", 1),
        }
        assert all(0 < member.lease_left_ms <= 4_000 for member in found)
        second.close()
        scene.cluster.advance("5 s")
        (alone,) = scene.cluster.run_on(first, lambda client: client.members())
        assert alone.epoch == first.epoch
        with World(scene.cluster.app) as world:
            assert world.run(world.jobs.members()) == ()


@pytest.mark.parametrize("end", ["lives", "killed"])
def test_alarms_are_divided_and_none_waits_for_the_engine_that_set_it(end):
    with Scene(ms=1) as scene:
        engines = scene.open(3)
        for number in range(30):
            at = OnAlarm(3_000, (Mark(f"a{number}"),))
            scene.cluster.run_on(engines[0], lambda client, n=number, at=at: client.handle(machine).send(f"al{n}", at))
        if end == "killed":
            engines[0].crash()
        fired = Counter[int]()
        scene.cluster.watch(
            lambda event: fired.update([event.worker] if isinstance(event.what, EffectPerformed) else [])
        )
        assert scene.is_settled()
        assert sorted(map(plain, scene.heard)) == sorted(f"a{number}" for number in range(30))
        assert set(fired) == {engine.number for engine in engines if not engine.is_over}
