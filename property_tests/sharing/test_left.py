"""Two versions of a job share a store: each leaves to the other the instances that it cannot read; nothing is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias, cast

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from returns.result import Success

from perdure import App, Do, Task, TaskContext, effect, program, tell
from perdure.client.client import Client
from perdure.client.local_gateway import engine_of
from perdure.testing import Crash
from perdure.testing.cluster import Cluster, ClusterEngine
from perdure.testing.world.trace import TransitionCommitted
from perdure.values.errors import Undecodable
from perdure.values.instance import Instance
from perdure.values.times import from_ms


# ---------------------------------------------------------------- the versions of one job
@attrs.frozen
class Seen:
    """How many events an instance has seen."""

    n: int = 0


@attrs.frozen
class Idle:
    """The same, of an instance at rest."""

    n: int = 0


@attrs.frozen
class Marked:
    """The same, in a class that only newer code has."""

    n: int = 0


@attrs.frozen
class Counted:
    """The same, under another name: a breaking change without a version."""

    count: int = 0


NIGHTLY = settings.get_current_profile_name() == "nightly"

Older: TypeAlias = Seen | Idle
Newer: TypeAlias = Seen | Idle | Marked


@attrs.define
class Outside:
    """An external system that remembers the runs that called it."""

    runs: list[str] = attrs.Factory(list[str])


@effect
def note(outside: Outside, text: str) -> Success[None]:
    """Remember a run."""
    outside.runs.append(text)
    return Success(None)


def job(state: Any, initial: Any, count: Callable[[Any, int], Any]) -> Any:
    """Define a version."""

    @program
    def on_event(ctx: TaskContext[Any], event: int) -> Do[None]:
        """Count the event, and set the alarm."""
        yield from ctx.update_state(lambda found: count(found, event))
        yield from ctx.schedule(after="2 seconds")

    @program
    def execute(ctx: TaskContext[Any]) -> Do[None, Any, Outside]:
        """Call the external system under the key of the run."""
        yield from note(f"{ctx.id} {ctx.run_id}")
        yield from ctx.update_state(lambda found: found)

    return Task("counters", state=state, event=int, initial=initial, on_event=on_event, execute=execute)


OLD = job(Older, Seen(), lambda found, _: Seen(found.n + 1))
NEW = job(Newer, Seen(), lambda found, event: Marked(found.n + 1) if event > 1 else Seen(found.n + 1))
BROKEN = job(Counted, Counted(), lambda found, _: Counted(found.count + 1))


@program
def forward(ctx: TaskContext[int], event: int) -> Do[None]:
    """Send the event on, as a message."""
    yield from tell(NEW, f"t{event}").send(event)
    yield from ctx.set_state(event)


RELAY = Task("relay", state=int, event=int, initial=0, on_event=forward)
JOBS = {"old": OLD, "new": NEW, "broken": BROKEN}
IDS = ("a", "b")

Step: TypeAlias = tuple[str, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(("send", "tell")), st.integers(0, 3)),
        st.tuples(st.sampled_from(("open", "close", "kill", "advance", "crash")), st.integers(0, 3)),
    ),
    max_size=12,
)


@attrs.define
class Rounds:
    """Engines of two versions, and their callers."""

    cluster: Cluster
    apps: tuple[App[Any], App[Any]]
    jobs: tuple[Any, Any]
    open: list[tuple[int, ClusterEngine]] = attrs.Factory(list[Any])
    sent: Counter[str] = attrs.Factory(Counter[str])
    asked: Counter[str] = attrs.Factory(Counter[str])
    commits: int = 0
    crashes: int = 0

    def start(self, which: int) -> None:
        """Open an engine of a version."""
        self.open.append((which, self.cluster.open(self.apps[which])))

    def step(self, step: Step) -> None:
        """Take one step."""
        action, number = step
        match action:
            case "send":
                self.send(IDS[number % 2], number)
            case "tell":
                self.tell(number)
            case "open":
                self.start(number % 2)
            case "crash" if not self.crashes:  # three crashes of one run park it
                self.crashes += 1
                self.cluster.inject(Crash("note", when="after"))
            case "advance":
                self.cluster.advance(f"{number + 1} s")
            case "close" | "kill" if self.open:
                _, engine = self.open.pop(number % len(self.open))
                if action == "kill":
                    engine.crash()
                else:
                    engine.close()
                self.cluster.advance("100 ms")
            case _:
                pass
        self.open = [(which, engine) for which, engine in self.open if engine.is_up]

    def send(self, id_: str, event: int) -> None:
        """Send an event to the version that is open, and count it if that accepts it."""
        for which, engine in self.open[-1:]:
            self.call(engine, self.jobs[which], id_, event, counted=id_)

    def tell(self, number: int) -> None:
        """Send an event through another instance."""
        for _, engine in self.open[-1:]:
            self.call(engine, RELAY, "r", number, counted=f"t{number}")

    def call(self, engine: ClusterEngine, definition: Any, id_: str, event: int, *, counted: str) -> None:
        """Send an event, and note whether it was accepted."""
        self.asked[counted] += 1
        task = engine.call(lambda client: client.handle(definition).send(id_, event))
        if self.cluster.run_until(task.done, patience="5 s") and not task.cancelled():
            self.sent[counted] += isinstance(task.result(), Success)

    def committed(self, event: Any) -> None:
        """Count commits."""
        self.commits += isinstance(event.what, TransitionCommitted)

    def only(self, which: int) -> ClusterEngine:
        """Let one version run alone for a while; it does no more than the instances ask of it."""
        for _, engine in self.open:
            engine.close()
        self.cluster.advance("6 s")
        self.open.clear()
        self.start(which)
        self.cluster.advance("70 s")
        while not self.open[-1][1].is_up:  # a crash that waited for its effect
            self.start(which)
            self.cluster.advance("70 s")
        before = self.commits
        self.cluster.advance("50 s")
        assert self.commits - before <= 2 * len(self.cluster.instances()) + 4, "no version tries in a loop"
        return self.open[-1][1]


def total(state: Any) -> int:
    return int(state.count if isinstance(state, Counted) else state.n)


def read(client: Client, definition: Any, id_: str) -> Any:
    return client.handle(definition).get_state(id_)


@settings(max_examples=300 if NIGHTLY else 15)
@given(STEPS, st.sampled_from(("new", "broken")))
@example([("open", 0), ("open", 1), ("send", 3), ("advance", 3), ("advance", 3)], "new")
@example([("open", 1), ("crash", 0), ("send", 3), ("advance", 3), ("open", 0), ("advance", 3)], "new")
@example([("open", 1), ("tell", 3), ("advance", 0), ("close", 0), ("open", 0), ("tell", 3), ("advance", 3)], "new")
@example([("open", 0), ("send", 1), ("close", 0), ("open", 1), ("advance", 3), ("send", 1)], "broken")
def test_nothing_parks_and_nothing_is_lost(steps: list[Step], other: str) -> None:
    outside = Outside()
    jobs = OLD, JOBS[other]
    apps = tuple(App(outside).with_jobs(one, RELAY) for one in jobs)
    with Cluster(App(outside).with_jobs(OLD, RELAY)) as cluster:
        scene = Rounds(cluster, (apps[0], apps[1]), jobs)
        cluster.watch(scene.committed)
        for step in steps:
            scene.step(step)
        ends = (0, 1) if other == "new" else (0, 1, 0)
        for which in ends:
            engine = scene.only(which)
            assert {row.suspension for row in cluster.instances()} <= {None}, "nothing parks"
        rows = [row for row in cluster.instances() if row.address.name == "counters"]
        assert cluster.inspect(lambda store: store.dead_letters(0, 99)) == ()
        for row in rows:
            found = engine.call(partial(read, definition=jobs[which], id_=row.address.id))
            assert cluster.run_until(found.done)
            if other == "new":
                assert row.left is None, "the newest version reads everything"
            if not isinstance(found.result(), Success):
                assert row.left is not None or row.due_ms is None, "an unreadable instance with an alarm is listed"
                continue
            assert (row.left, row.due_ms, row.claim) == (None, None, None), "a readable instance has run"
            id_ = row.address.id
            assert scene.sent[id_] <= total(found.result().unwrap()) <= scene.asked[id_]
        runs = Counter(text.partition(" ")[0] for text in dict.fromkeys(outside.runs))
        for id_, count in runs.items():
            assert count <= scene.asked[id_], "a run that is repeated has the same id"
        if other == "new":
            assert cluster.inspect(lambda store: store.messages(10**15, 99)) == ()
            assert {id_ for id_, number in scene.sent.items() if number} <= {row.address.id for row in rows}


# ---------------------------------------------------------------- one scene each
@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
def cluster(outside: Outside) -> Iterator[Cluster]:
    with Cluster(App(outside).with_jobs(OLD, RELAY)) as found:
        yield found


def row_of(cluster: Cluster, id_: str = "a") -> Instance:
    return next(row for row in cluster.instances() if row.address.id == id_ and row.address.name == "counters")


def both(cluster: Cluster, outside: Outside) -> tuple[ClusterEngine, ClusterEngine]:
    """Open an older engine and a newer one, and let the older one have the share of the instance ``a``."""
    while True:
        older = cluster.open()
        newer = cluster.open(App(outside).with_jobs(NEW, RELAY))
        cluster.advance("2 s")
        if OLD.address("a") in engine_of(cast("Client", older.client)).membership.share:
            return older, newer
        for engine in (older, newer):
            engine.close()
        cluster.advance("1 s")


def send(cluster: Cluster, engine: ClusterEngine, event: int, definition: Any = NEW) -> None:
    cluster.run_on(engine, lambda client: client.handle(definition).send("a", event))


def test_a_call_to_an_engine_that_cannot_read_the_instance_changes_nothing(cluster: Cluster, outside: Outside) -> None:
    older, newer = both(cluster, outside)
    send(cluster, newer, 2)
    before = row_of(cluster)
    calls: tuple[Callable[[Client], Any], ...] = (
        lambda client: client.handle(OLD).send("a", 1),
        lambda client: client.handle(OLD).trigger("a"),
        lambda client: client.handle(OLD).get_state("a"),
    )
    for call in calls:
        task = older.call(call)
        assert cluster.run_until(task.done, patience="1 s")
        refused = task.result().failure()
        assert isinstance(refused, Undecodable)
        assert "$" in refused.problems[0]
    assert row_of(cluster) == before
    assert cluster.run_on(older, lambda client: client.handle(OLD).pause("a")).changed
    assert cluster.run_on(older, lambda client: client.handle(OLD).resume("a")).changed
    cluster.run_on(older, lambda client: client.handle(OLD).terminate("a"))
    assert [row.address for row in cluster.instances()] == []


def test_an_instance_that_only_calls_meet_is_listed_once_no_other_code_runs(cluster: Cluster, outside: Outside) -> None:
    """It has no alarm. While newer code runs, a call changes nothing; afterwards the first call lists it."""
    older, newer = both(cluster, outside)
    second = cluster.open()
    send(cluster, newer, 2)
    cluster.advance("4 s")
    assert (row_of(cluster).left, row_of(cluster).due_ms) == (None, None)

    def refused(engine: ClusterEngine) -> Instance:
        task = engine.call(lambda client: client.handle(OLD).send("a", 1))
        assert cluster.run_until(task.done, patience="1 s")
        assert isinstance(task.result().failure(), Undecodable)
        return row_of(cluster)

    assert refused(older).left is None
    newer.close()
    cluster.advance("3 s")
    left = refused(second).left
    assert left is not None
    for engine in (older, second):
        (listed,) = cluster.run_on(engine, lambda client: client.list(status="left"))
        assert (listed.address, listed.report.left) == (OLD.address("a"), left.error)
    written = row_of(cluster)
    assert refused(older) == written, "the same code marks once"
    newer = cluster.open(App(outside).with_jobs(NEW, RELAY))
    cluster.advance("1 s")
    assert row_of(cluster).left is None
    send(cluster, newer, 2)


def test_an_alarm_that_older_code_left_fires_within_a_second(cluster: Cluster, outside: Outside) -> None:
    """It is in the share of the older engine, which reads it first and leaves it."""
    _, newer = both(cluster, outside)
    send(cluster, newer, 2)
    cluster.advance("1900 ms")
    assert outside.runs == []
    cluster.advance("1200 ms")
    assert len(outside.runs) == 1
    assert (row_of(cluster).left, row_of(cluster).due_ms) == (None, None)


def test_the_code_that_left_an_instance_does_not_try_again(cluster: Cluster, outside: Outside) -> None:
    newer = cluster.open(App(outside).with_jobs(NEW, RELAY))
    send(cluster, newer, 2)
    newer.close()
    cluster.advance("1 s")
    older = cluster.open()
    cluster.advance("5 s")
    left = row_of(cluster)
    assert left.left is not None
    assert (left.status, left.suspension, len(left.left.codes)) == ("left", None, 1)
    assert left.left.error.message.startswith("$")
    assert (left.due_ms, left.rank_ms, left.owner) == (None, None, None), "no scan finds it"
    for _ in range(2):
        cluster.advance("1 hour")
        older.close()
        cluster.advance("1 s")
        older = cluster.open()
    assert row_of(cluster) == left, "nor after a restart"
    report = cluster.run_on(older, lambda client: client.handle(OLD).status("a"))
    assert (report.left, report.since) == (left.left.error, from_ms(left.left.since_ms))
    assert "Run an engine of the version that wrote it" in report.heals
    cluster.open(App(outside).with_jobs(NEW, RELAY))
    cluster.advance("1 s")
    assert len(outside.runs) == 1


def test_several_versions_that_left_an_instance_are_all_kept(cluster: Cluster, outside: Outside) -> None:
    newer = cluster.open(App(outside).with_jobs(NEW, RELAY))
    send(cluster, newer, 2)
    newer.close()
    cluster.advance("3 s")
    since = set[int]()
    for definition, count in ((OLD, 1), (BROKEN, 2), (OLD, 2), (BROKEN, 2)):
        engine = cluster.open(App(outside).with_jobs(definition, RELAY))
        cluster.advance("5 s")
        left = row_of(cluster).left
        assert left is not None
        assert len(left.codes) == count
        since.add(left.since_ms)
        engine.close()
        cluster.advance("1 s")
    assert len(since) == 1, "since the first of them left it"


def test_a_run_that_is_left_after_its_effect_is_repeated_under_its_id(cluster: Cluster, outside: Outside) -> None:
    """The newer engine dies after the effect, the older one finds the claim, and the next newer one repeats the run."""
    newer = cluster.open(App(outside).with_jobs(NEW, RELAY))
    send(cluster, newer, 2)
    cluster.inject(Crash("note", when="after"))
    cluster.advance("3 s")
    claim = row_of(cluster).claim
    assert claim is not None
    older = cluster.open()
    cluster.advance("30 s")
    left = row_of(cluster)
    assert left.left is not None
    assert left.claim == claim, "code that runs nothing counts no attempt, delivery or death"
    older.close()
    cluster.open(App(outside).with_jobs(NEW, RELAY))
    cluster.advance("10 s")
    assert len(outside.runs) == 2
    assert len(set(outside.runs)) == 1, "one key for the external system"
    assert (row_of(cluster).left, row_of(cluster).claim, row_of(cluster).due_ms) == (None, None, None)
    recovered = [
        event.event
        for event in cluster.inspect(lambda store: store.history(NEW.address("a"), None, 99))
        if event.event.type == "job.recovered"
    ]
    assert getattr(recovered[0], "recoveries", None) == 1


def test_a_message_of_newer_code_is_delivered_by_newer_code(cluster: Cluster, outside: Outside) -> None:
    """The older engine has the share of its target, and does not know its class: it buries nothing."""
    texts = Task("texts", state=int, event=str, initial=0, on_event=lambda ctx, _: ctx.set_state(1))
    numbers = Task("texts", state=int, event=int, initial=0, on_event=lambda ctx, _: ctx.set_state(1))

    @program
    def tells(ctx: TaskContext[int], event: str) -> Do[None]:
        yield from tell(texts, event).send("word")
        yield from ctx.set_state(1)

    sender = Task("sender", state=int, event=str, initial=0, on_event=tells)
    older = cluster.open(App(outside).with_jobs(numbers, sender))
    cluster.advance("1 s")
    cluster.run_on(older, lambda client: client.handle(sender).send("s", "b"))
    cluster.advance("5 s")
    (waits,) = cluster.inspect(lambda store: store.messages(10**15, 9))
    assert len(waits.codes) == 1
    cluster.open(App(outside).with_jobs(texts, sender))
    cluster.advance("1 s")
    assert cluster.inspect(lambda store: store.messages(10**15, 9)) == ()
    assert cluster.inspect(lambda store: store.dead_letters(0, 9)) == ()
    assert {str(row.address) for row in cluster.instances()} == {"task:sender:s", "task:texts:b"}
