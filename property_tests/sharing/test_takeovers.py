"""The runs of a lost engine are claimed elsewhere within its lease and a second, whatever happens to other engines."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import attrs
from hypothesis import example, given, settings
from hypothesis import strategies as st
from machine import Mark, OnAlarm, Say, Wait, machine, steps
from returns.result import Success

from perdure import App, Limits
from perdure.stores.values import Query
from perdure.testing import Fail
from perdure.testing.cluster import Cluster, ClusterEngine
from perdure.testing.world.trace import TraceEvent, TransitionCommitted
from perdure.values.address import Address
from perdure.values.errors import OutcomeUnknown, StoreUnavailable
from perdure.values.instance import Instance
from perdure.values.transition import Put

LEASE_MS: Final = 4_000
NIGHTLY: Final = settings.get_current_profile_name() == "nightly"
BOUND_MS: Final = LEASE_MS + 1_000
RUNS: Final = 4
"""How many runs begin in each engine."""

Mishap: TypeAlias = Literal["crash", "freeze", "cut", "close"]


@attrs.frozen
class Suffers:
    """An engine suffers; its opening does, if it has just begun.

    Attributes:
        after_ms: how long after the event before.
        which: the engine, by its number among those that suffer.
        mishap: of which kind.
    """

    after_ms: int
    which: int
    mishap: Mishap


@attrs.frozen
class Opens:
    """An engine opens the store; ``hangs``: its declared instance is created by a run that does not end."""

    after_ms: int
    opening: Literal["quick", "hangs"]


@attrs.frozen
class Fails:
    """The next heartbeats, or looks for abandoned claims, of any engine fail.

    Attributes:
        after_ms: how long after the event before.
        operation: which.
        times: how often.
        how: the error of the store.
    """

    after_ms: int
    operation: Literal["sharing.heartbeat", "sharing.abandoned"]
    times: int
    how: Literal["unavailable", "unknown"]


Event: TypeAlias = Suffers | Opens | Fails


@attrs.define
class Outside:
    """An external system that answers at once."""

    heard: list[str] = attrs.Factory(list[str])

    @property
    def outside(self) -> Outside:
        return self

    async def hear(self, word: str) -> Success[None]:
        """Hear a word."""
        self.heard.append(word)
        return Success(None)


@attrs.define
class Takeovers:
    """A cluster in which one engine stays healthy, and all others suffer.

    Attributes:
        seed: of all choices.
        mishaps: when each engine suffered, by epoch.
        owners: which epoch has claimed each run.
        due: until when the claim of an epoch must be another engine's.
    """

    seed: int
    cluster: Cluster = attrs.field(init=False)
    app: App[Any] = attrs.field(init=False)
    others: list[ClusterEngine] = attrs.Factory(list[ClusterEngine])
    suffered: dict[int, int] = attrs.Factory(dict[int, int])
    owners: dict[Address, int] = attrs.Factory(dict[Address, int])
    due: dict[tuple[Address, int], int] = attrs.Factory(dict["tuple[Address, int]", int])
    late: list[str] = attrs.Factory(list[str])
    _runs: int = 0

    def __attrs_post_init__(self) -> None:
        self.app = App(Outside(), limits=Limits(shutdown_timeout="2 s")).with_jobs(machine)
        self.cluster = Cluster(self.app, seed=self.seed, lease=f"{LEASE_MS} ms")
        self.cluster.watch(self._note)

    def _note(self, event: TraceEvent) -> None:
        """Note who owns a claim; a claim that has another owner is taken over."""
        if not isinstance(event.what, TransitionCommitted):
            return
        write = event.what.transition.write
        if isinstance(write, Put) and (owner := owner_of(write.instance)):
            address, now_ms = write.instance.address, self.cluster.now_ms
            before, self.owners[address] = self.owners.get(address, 0), owner
            until_ms = self.due.pop((address, before), None) if before != owner else None
            if until_ms is not None and now_ms > until_ms:
                self.late.append(f"{address} of engine {before}: {now_ms - until_ms} ms too late")
            if owner in self.suffered:
                self.due[address, owner] = self.suffered[owner] + BOUND_MS

    # ------------------------------------------------------------ events
    def begins_runs(self, engine: ClusterEngine) -> None:
        """Begin some runs that do not end."""
        for _ in range(RUNS):
            self._runs += 1
            id_, events = f"r{self._runs}", steps(Mark(f"w{self._runs}"), Wait(3_600_000))
            engine.call(lambda client, id_=id_, events=events: client.handle(machine).send(id_, events))

    def opens(self, opening: Literal["quick", "hangs"]) -> None:
        """Begin to open an engine."""
        app = self.app
        if opening == "hangs":
            events = steps(Mark("declared"), Wait(3_600_000))
            id_ = f"declared{len(self.others)}"
            app = app.ensuring(machine, id_, lambda job: job.send(events))
        self.others.append(self.cluster.begin(app))

    def suffers(self, which: int, mishap: Mishap) -> None:
        """Let an engine suffer, once."""
        if which >= len(self.others):
            return
        engine = self.others[which]
        if not engine.epoch or engine.epoch in self.suffered or (mishap == "close" and not engine.is_up):
            return
        self.suffered[engine.epoch] = self.cluster.now_ms
        for address, owner in self.owners.items():
            if owner == engine.epoch:
                self.due[address, owner] = self.cluster.now_ms + BOUND_MS
        match mishap:
            case "crash":
                engine.crash()
            case "freeze":
                engine.freeze("1 hour")
            case "cut":
                engine.cut_off("1 hour")
            case "close":
                engine.close()

    def fails(self, fault: Fails) -> None:
        """Let operations fail."""
        unavailable = StoreUnavailable(fault.operation, "drawn")
        error = OutcomeUnknown("drawn") if fault.how == "unknown" else unavailable
        self.cluster.inject(Fail(f"store.{fault.operation}", error, times=fault.times))

    def run(self, history: list[Event]) -> None:
        """Execute a history, and check that each run was claimed elsewhere in time.

        Raises:
            AssertionError: one was not.
        """
        with self.cluster as cluster:
            healthy = cluster.open()
            self.others += [cluster.open() for _ in range(3)]
            for engine in (healthy, *self.others):
                self.begins_runs(engine)
            cluster.advance("1 s")
            for event in history:
                cluster.advance(f"{event.after_ms + 1} ms")
                match event:
                    case Opens():
                        self.opens(event.opening)
                    case Suffers():
                        self.suffers(event.which, event.mishap)
                    case Fails():
                        self.fails(event)
            cluster.advance(f"{BOUND_MS + 1_500} ms")
            parked = cluster.inspect(lambda store: store.find(Query(status="parked", limit=99)))
            left = {row.address for row in cluster.instances() if self.is_left(row)} - {row.address for row in parked}
            late = [f"{address} of engine {owner}: never" for address, owner in self.due if address in left]
            assert not [*self.late, *late]

    def is_left(self, row: Instance) -> bool:
        """Whether the owner of a claim has suffered, and the run is not delivered alone, which may take longer."""
        claim = row.claim or row.event_claim
        return claim is not None and claim.recoveries < 1 and claim.owner in (0, *self.suffered)


def owner_of(row: Instance) -> int:
    """Return the epoch that has claimed a row; 0 if none has."""
    claim = row.claim or row.event_claim
    return 0 if claim is None else claim.owner


_TIMES = st.integers(0, 3_000)
HISTORIES = st.lists(
    st.builds(Suffers, _TIMES, st.integers(0, 5), st.sampled_from(("crash", "freeze", "cut", "close")))
    | st.builds(Opens, _TIMES, st.sampled_from(("quick", "hangs"))),
    min_size=1,
    max_size=6,
)
FAULTS = st.builds(
    Fails,
    _TIMES,
    st.sampled_from(("sharing.heartbeat", "sharing.abandoned")),
    st.integers(1, 3),
    st.sampled_from(("unavailable", "unknown")),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Draw a history with one fault at most: more of them take longer than a second."""
    history: list[Event] = [*draw(HISTORIES)]
    if draw(st.booleans()):
        history.insert(draw(st.integers(0, len(history))), draw(FAULTS))
    return history


@example([Suffers(0, 0, "crash"), Suffers(3_000, 1, "crash")], 0)
@example([Suffers(0, 0, "crash"), Suffers(3_900, 1, "freeze"), Suffers(50, 2, "cut")], 0)
@example([Suffers(0, 0, "crash"), Opens(2_000, "hangs"), Opens(0, "hangs")], 0)
@example([Suffers(0, 0, "crash"), Opens(3_900, "quick"), Suffers(80, 3, "freeze")], 0)
@example([Fails(0, "sharing.heartbeat", 3, "unknown"), Suffers(500, 0, "crash")], 0)
@example([Fails(0, "sharing.heartbeat", 12, "unknown"), Suffers(3_000, 0, "crash")], 0)
@example([Suffers(0, 0, "crash"), Fails(3_800, "sharing.heartbeat", 3, "unavailable")], 0)
@example([Suffers(0, 0, "crash"), Fails(3_800, "sharing.abandoned", 9, "unknown")], 0)
@settings(max_examples=1_000 if NIGHTLY else 10)
@given(histories(), st.integers(0, 99))
def test_runs_are_taken_over_within_the_lease_and_a_second(history: list[Event], seed: int) -> None:
    """One engine stays healthy; the others are killed, frozen, cut off, closed and opened, also during an opening."""
    Takeovers(seed).run(history)


def test_an_opening_that_hangs_takes_no_share() -> None:
    """The alarms of a healthy engine fire in time while another one opens the store, and waits for its instance."""
    outside = Outside()
    app = App(outside).with_jobs(machine)
    with Cluster(app) as cluster:
        healthy = cluster.open()
        for number in range(40):
            alarm = OnAlarm(3_000, (Say(f"alarm{number}"),))
            cluster.run_on(healthy, lambda client, n=number, alarm=alarm: client.handle(machine).send(f"a{n}", alarm))
        events = steps(Mark("declared"), Wait(3_600_000))
        opening = cluster.begin(app.ensuring(machine, "declared", lambda job: job.send(events)))
        cluster.advance("4 s")
        assert not opening.is_up
        assert len([word for word in outside.heard if word.startswith("alarm")]) == 40
