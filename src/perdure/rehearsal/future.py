"""Futures: the acts of the instances of an image under an app, run by the real engine in virtual time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Final, Literal, TypeAlias

import attrs
import orjson
from returns.result import Failure, Result, Success

from perdure.app import App, for_rehearsal
from perdure.client.client import Client, gateway_of
from perdure.jobs.call import result_of
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.redaction import has_secrets, redacted_instance, redacted_payload, secrets_of_run
from perdure.jobs.step import Execute
from perdure.programs import default_handler
from perdure.programs.drivers import settle_answer
from perdure.programs.instructions import ServiceCall
from perdure.rehearsal.answers import Performer, Recorded, ServiceAnswers, Source, recorded_in
from perdure.rehearsal.image import Image, share_of
from perdure.rehearsal.past import PastRequest, number_of
from perdure.runtime.record import Runtime
from perdure.runtime.simulated import Simulation
from perdure.runtime.tasks import run_around
from perdure.stores.contract import Answered, NotCommitted, Store, overlay
from perdure.stores.memory import MemoryBackend
from perdure.values.address import Address
from perdure.values.errors import DefinitionError, RequestError
from perdure.values.excerpt import MAX_LINE_CHARACTERS, fields_in_line, shortened
from perdure.values.instance import Fence, Instance
from perdure.values.secret import scrubbed
from perdure.values.transition import Purge, Put, Transition

What: TypeAlias = Literal["effect", "message", "parked", "left", "ended", "state", "request", "refused"]
"""A kind of act: the instance performed an effect, sent a message, was parked, was left by other code, or ended. Or
the state that it has at the end of the rehearsal. Or a request from outside arrived, or was refused."""

MOST_ACTS: Final = 1_000_000
"""How many acts all futures of one app may have, in memory."""

LOOKS_EVERY_MS: Final = 3_600_000
"""How often a bound is checked, in virtual milliseconds."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# The fixed bits of a UUID of version 7, as the engine's own ids have them.
_VERSION_AND_VARIANT: Final = 7 << 76 | 2 << 62
# The default repr of an object has its place in memory, which differs in each process: equal arguments would differ.
_PLACE_IN_MEMORY: Final = re.compile(r" at 0x[0-9a-f]+")


@attrs.frozen
class Act:
    """One thing that an instance did.

    Attributes:
        at_ms: when, in milliseconds since 1970 UTC.
        what: the kind of act.
        name: the effect, the action and target of a message, the reason for a stop.
        given: a digest of the arguments, the payload or the state. Equal digests mean equal values.
        shown: the arguments, the payload or the state without secrets, shortened.
        attempt: the run's attempt that performed an effect. 0 for all other acts.
        run: how many runs the instance had begun by then: acts of one run, with its retries, have the same number.
    """

    at_ms: int
    what: What
    name: str
    given: str
    # Not compared: it is shortened and without secrets. The digest decides.
    shown: str = attrs.field(eq=False)
    attempt: int = 0
    # Not compared: one run more in the beginning would make all later acts differ.
    run: int = attrs.field(default=0, eq=False)

    def does_as(self, other: Act) -> bool:
        """Return whether it is the same act, perhaps at another time or attempt.

        Args:
            other: an act of the other future.
        """
        return (self.what, self.name, self.given) == (other.what, other.name, other.given)


@attrs.frozen
class InstanceFuture:
    """The acts of one instance.

    Attributes:
        acts: its acts, in order.
        ends: ``horizon`` at the end of the rehearsal, ``runs`` after its few runs.
        alarm: whether an alarm, a retry or a run is left at the end.
    """

    __repr__ = fields_in_line

    acts: tuple[Act, ...]
    ends: Literal["horizon", "runs"] = "horizon"
    alarm: Literal["set", "none"] = "none"


NO_FUTURE: Final = InstanceFuture(())

_PARTS: Final = ("at_ms", "what", "name", "given", "shown", "attempt", "run")


@attrs.frozen(kw_only=True)
class Futures:
    """The acts of the instances of an image under one app.

    Attributes:
        of: the futures by address: of the chosen instances, and of those that came into being.
        reached: instances of the store that a message would have reached, and that were not chosen.
        used: how many calls each source has answered, by effect.
        missing: the effects without an answer, and why.
    """

    __repr__ = fields_in_line

    of: Mapping[Address, InstanceFuture]
    reached: frozenset[Address] = frozenset()
    used: Mapping[tuple[str, Source], int] = attrs.Factory(dict[tuple[str, Source], int])
    missing: Mapping[str, str] = attrs.Factory(dict[str, str])

    def to_json(self) -> bytes:
        """Encode the futures, for another process."""
        futures = [
            [str(address), future.ends, future.alarm, [[getattr(act, part) for part in _PARTS] for act in future.acts]]
            for address, future in self.of.items()
        ]
        used = [[name, source, calls] for (name, source), calls in self.used.items()]
        reached = [*map(str, self.reached)]
        return orjson.dumps({"of": futures, "reached": reached, "used": used, "missing": self.missing})

    @classmethod
    def from_json(cls, text: bytes) -> Futures:
        """Decode the futures of another process.

        Args:
            text: the other process's `to_json`.
        """
        data = orjson.loads(text)
        return cls(
            of={
                Address.parse(address): InstanceFuture(tuple(Act(*parts) for parts in acts), ends, alarm)
                for address, ends, alarm, acts in data["of"]
            },
            reached=frozenset(map(Address.parse, data["reached"])),
            used={(name, source): calls for name, source, calls in data["used"]},
            missing=data["missing"],
        )


@attrs.frozen(repr=False)
class TooManyActs(DefinitionError):
    """The futures do not fit into memory."""

    @classmethod
    def of(cls, most: int) -> TooManyActs:
        """Return the error."""
        return cls("acts of a rehearsal", f"more than {most:,}", "fewer: a smaller sample, a filter or a shorter time")


@attrs.define
class _Record:
    acts: list[Act] = attrs.Factory(list[Act])
    ordinals: Counter[tuple[str, str]] = attrs.Factory(Counter[tuple[str, str]])
    runs_left: int | None = None
    is_over: bool = False


@attrs.define
class Recorder:
    """Records the acts of one app's instances.

    Attributes:
        backend: the store in memory.
        most_acts: how many acts are kept.
        begins_ms: the moment at which the futures begin.
        reached: instances that messages reached and that are not in the image.
        acts: how many acts there were.
    """

    jobs: Mapping[tuple[str, str], AnyDefinition]
    performer: Performer
    runtime: Runtime
    backend: MemoryBackend
    key: bytes
    most_acts: int
    known: frozenset[Address]
    begins_ms: int
    records: dict[Address, _Record] = attrs.Factory(dict[Address, _Record])
    reached: set[Address] = attrs.Factory(set[Address])
    acts: int = 0

    def of(self, address: Address) -> _Record:
        """Return an instance's record."""
        found = self.records.get(address)
        if found is None:
            found = self.records[address] = _Record()
        return found

    def add(self, address: Address, act: Act) -> None:
        """Record an act."""
        record = self.of(address)
        if record.is_over:
            return
        self.acts += 1
        if self.acts <= self.most_acts:  # the pass ends soon: an exception here would be the program's
            record.acts.append(act)

    def digest(self, text: str) -> str:
        """Return a text's digest."""
        # Keyed: a digest of a short secret must not be found by trying.
        return blake2b(text.encode(), digest_size=12, key=self.key).hexdigest()

    # ------------------------------------------------------------ effects
    def perform(self, instruction: object, services: object, execute: Execute) -> object:
        """Answer an effect, and record it."""
        # Only a service call leaves the process. The clock, sleeps and random numbers are those of the simulation
        # already.
        if type(instruction) is not ServiceCall:
            return default_handler(instruction, services)
        address = execute.instance.address
        run_id = execute.claim.run_id
        values = [*map(repr, instruction.args), *(f"{name}={value!r}" for name, value in instruction.kwargs.items())]
        # The ids of runs depend on how many came before: an earlier difference would change all later arguments.
        text = _PLACE_IN_MEMORY.sub("", ", ".join(values)).replace(run_id, "<run>")
        digest = self.digest(text)
        secrets = secrets_of_run(self.jobs[address.kind, address.name], execute)
        shown = shortened(scrubbed(text, secrets) if secrets else text, MAX_LINE_CHARACTERS)
        record = self.of(address)
        # Counted by effect and arguments: calls in between do not change which recorded outcome an equal call gets.
        record.ordinals[instruction.name, digest] += 1
        now_ms, run = self.runtime.now_ms(), execute.instance.run_count
        self.add(address, Act(now_ms, "effect", instruction.name, digest, shown, execute.claim.attempt, run))
        ordinal = record.ordinals[instruction.name, digest]
        try:
            # Recorded before it is answered: a fault or a missing answer is an outcome of a call that was made.
            answer = self.performer.answer(instruction, address, ordinal, now_ms - self.begins_ms)
        except LookupError:
            return self.runtime.future()  # it never comes: the rehearsal is refused at the end
        latency_ms = self.performer.answers.latency_ms
        return answer if latency_ms == 0 else self._later(answer, latency_ms)

    # Virtual time: it orders the answers of concurrent calls, and costs nothing.
    async def _later(self, answer: object, latency_ms: int) -> object:
        await self.runtime.sleep(latency_ms)
        return await settle_answer(answer, None, self.runtime)

    # ------------------------------------------------------------ requests from outside
    async def arrive(self, client: Client, request: PastRequest) -> None:
        """Send a request, and record it. Record as well if the app refuses it."""
        address, payload = request.address, request.payload or ""
        if self.of(address).is_over:
            return
        job = self.jobs.get((address.kind, address.name))
        text = "" if job is None else redacted_payload(job, request.action, payload)
        shown = shortened(text, MAX_LINE_CHARACTERS)
        self.add(address, Act(self.runtime.now_ms(), "request", request.action, self.digest(payload), shown))
        try:
            named = gateway_of(client).by_name(address.kind, address.name)
            # A key of its own for each arrival: two equal requests are two requests, and the run ids that derive from
            # the keys are the same under both codes.
            key = f"arrival-{sum(act.what == 'request' for act in self.of(address).acts)}"
            answer = await result_of(named.call(request.action, address.id, payload, idempotency_key=key))
        except RequestError as refused:
            answer = Failure(refused)
        if type(answer) is not Success:
            name = f"{request.action}, {type(answer.failure()).__name__}"
            acts = self.of(address).acts
            if len(acts) > 1 and acts[-1].what == "ended" and acts[-2].what == "request":
                acts.pop()  # of the row of a first request in progress
            self.add(address, Act(self.runtime.now_ms(), "refused", name, "", ""))

    # ------------------------------------------------------------ commits
    def watching(self, store: Store) -> Store:
        """Return the store, with its commits recorded."""

        def commit(transitions: Sequence[Transition], answered: Answered[Fence, NotCommitted], /) -> None:
            # Read before the commit, which replaces the rows.
            before = [self.backend.instance(each.address) for each in transitions]

            def told(answers: Sequence[Result[Fence, NotCommitted]], /) -> None:
                for row, transition, answer in zip(before, transitions, answers, strict=True):
                    if type(answer) is Success:
                        self._committed(row, transition)
                # Last: the answer lets the engine continue, and its next act must follow these in the record.
                answered(answers)

            store.commit(transitions, told)

        return overlay(store, commit=commit)

    def _committed(self, before: Instance | None, transition: Transition) -> None:
        address, now_ms = transition.address, self.runtime.now_ms()
        row = transition.write.instance if isinstance(transition.write, Put) else before
        run = 0 if row is None else row.run_count
        for message in transition.messages:
            target, job = message.target, self.jobs.get((message.target.kind, message.target.name))
            # Of a job that this app does not have: nothing says which parts are secret.
            payload = "" if job is None else redacted_payload(job, message.action, message.payload)
            name = f"{message.action} to {target.kind}:{target.name}"
            text = f"{target.id}\0{message.payload}"
            shown = shortened(f"{target.id}, {payload}" if payload else target.id, MAX_LINE_CHARACTERS)
            self.add(address, Act(now_ms, "message", name, self.digest(text), shown, run=run))
            # The image has no row for it, so its turn creates one. Whether it exists in the real store is checked
            # afterwards.
            if target not in self.known:
                self.reached.add(target)
        match transition.write:
            case Put(instance):
                self._stored(before, instance, now_ms)
            case Purge():
                self.add(address, Act(now_ms, "ended", _removed(before), "", "", run=run))
            case _:
                return
        self._count_run(before, transition)

    def _stored(self, before: Instance | None, after: Instance, now_ms: int) -> None:
        # Only the commit that parks it: later commits of a parked instance repeat the column.
        if after.suspension is not None and (before is None or before.suspension != after.suspension):
            name = (
                after.suspension if after.last_error is None else f"{after.suspension}, {after.last_error.error_type}"
            )
            self.add(after.address, Act(now_ms, "parked", name, "", "", run=after.run_count))
        if after.left is not None and (before is None or before.left is None):
            error = after.left.error
            shown = shortened(error.message)
            self.add(after.address, Act(now_ms, "left", error.error_type, "", shown, run=after.run_count))
        if after.ended_ms is not None and (before is None or before.ended_ms is None):
            digest = self.digest(after.data)
            self.add(after.address, Act(now_ms, "ended", after.status, digest, "", run=after.run_count))

    def _count_run(self, before: Instance | None, transition: Transition) -> None:
        """Remove an instance after its few runs: nothing more is recorded of it."""
        record = self.records.get(transition.address)
        if record is None or record.runs_left is None or record.is_over or before is None or before.claim is None:
            return
        write = transition.write
        # The commit of a claim begins a run, and that of a retry keeps it. Only one without a claim has ended a run.
        if isinstance(write, Put) and write.instance.claim is not None:
            return
        record.runs_left -= 1
        if record.runs_left <= 0:
            record.is_over = True
            # Its alarms would fire until the end of the rehearsal, for acts that are not recorded.
            self.backend.remove(transition.address)

    # ------------------------------------------------------------ the end
    def futures(self) -> Futures:
        """Return the futures, with the last state of each instance."""
        found: dict[Address, InstanceFuture] = {}
        for address in self.known | self.records.keys():
            record = self.of(address)
            if record.is_over:
                found[address] = InstanceFuture(tuple(record.acts), "runs", "set")
                continue
            row = self.backend.instance(address)
            job = self.jobs.get((address.kind, address.name))
            if row is not None and job is not None:
                record.acts.append(self._state(job, row))
            alarm = row is not None and (row.due_ms is not None or row.claim is not None)
            found[address] = InstanceFuture(tuple(record.acts), "horizon", "set" if alarm else "none")
        return Futures(
            of=found,
            reached=frozenset(self.reached - self.known),
            used=dict(self.performer.used),
            missing=dict(self.performer.missing),
        )

    def _state(self, job: AnyDefinition, row: Instance) -> Act:
        shown = redacted_instance(job, row).state if has_secrets(job) else row.state
        # The version of the text is not part of it: code that only reads an older one has not changed anything.
        return Act(self.runtime.now_ms(), "state", "", self.digest(row.state), shortened(shown, MAX_LINE_CHARACTERS))


def _removed(before: Instance | None) -> str:
    """Return the name of a purge: an instance that has ended before is only removed."""
    return "removed" if before is not None and before.ended_ms is not None else ""


class NoServices:
    """The services of a rehearsal without fakes. Programs that read them get functions that refuse to be called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Refuses(name)


@attrs.frozen
class _Refuses:
    name: str

    def __call__(self, *_: object, **__: object) -> Any:
        expected = "an effect, which a rehearsal can answer, or fake services (--services MODULE:FAKES)"
        raise DefinitionError(f"use of the service {self.name}", "a direct call in a program", expected)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Refuses(f"{self.name}.{name}")


def futures_of(
    app: App[Any],
    image: Image,
    *,
    lasting: timedelta,
    answers: ServiceAnswers,
    seed: int = 0,
    shallow: Iterable[Address] = (),
    runs: int = 3,
    key: bytes = b"",
    recorded: Mapping[str, tuple[Recorded, ...]] | None = None,
    most: int = MOST_ACTS,
    arrivals: Sequence[PastRequest] = (),
) -> Futures:
    """Run all instances of an image under an app, and return their acts.

    The engine, the kinds and the programs are those that production runs. Time is virtual, the store is in memory, and
    services are answered. Runs that were in progress at the image's moment are recovered as after a crash.

    Args:
        app: the app.
        image: the instances, and the messages between them.
        lasting: how long, in virtual time.
        answers: the answers of services.
        seed: decides jitter, ids and faults. Each instance's own depend on nothing but the seed and the instance.
        shallow: the instances that end after a few runs.
        runs: how many runs those have.
        key: the key of the digests. Futures with different keys cannot be compared.
        recorded: recorded outcomes. By default those in the image's journals.
        most: how many acts are kept in memory.
        arrivals: the requests from outside, in order.

    Raises:
        TooManyActs: there are more.
        DefinitionError: the app cannot be opened.
    """
    performer = Performer(answers, recorded_in(image) if recorded is None else recorded, seed)
    with on_stage(app, image, performer, key=key, most=most) as stage:
        simulation, recorder = stage.simulation, stage.recorder
        for address in shallow:
            recorder.of(address).runs_left = runs
        client = stage.enter()
        until_ms = image.at_ms + round(lasting / timedelta(milliseconds=1))
        for request in arrivals:
            _advance(simulation, recorder, min(request.at_ms, until_ms))
            if request.at_ms < until_ms:
                recorder.runtime.spawn(recorder.arrive(client, request), name="arrival")
        _advance(simulation, recorder, until_ms)
    return recorder.futures()


@attrs.define
class Stage:
    """An app on a copy of stored rows, in virtual time.

    Attributes:
        simulation: the clock, and the tasks.
        recorder: records what instances do.
        opened: the app, not yet open.
    """

    simulation: Simulation
    recorder: Recorder
    opened: AbstractAsyncContextManager[Client]

    def enter(self) -> Client:
        """Open the app."""
        return self.simulation.run(self.opened.__aenter__())


@contextmanager
def on_stage(
    app: App[Any],
    image: Image,
    performer: Performer,
    *,
    key: bytes = b"",
    most: int = MOST_ACTS,
    recording: Callable[..., Recorder] = Recorder,
    history: str = "0 ms",
) -> Generator[Stage]:
    """Prepare an app on the rows of an image: the real engine, with virtual time and a store in memory.

    Args:
        app: the app.
        image: the rows.
        performer: answers the services. Its seed decides jitter and ids.
        key: the key of the digests.
        most: how many acts are kept in memory.
        recording: makes the recorder.
        history: how long events are kept. By default commits have none but failures, which are not stored.

    Raises:
        DefinitionError: the app cannot be opened.
    """
    served, seed = app.served, performer.seed
    # First in, first out: both codes schedule their tasks in the same order, so that a difference is one of the code.
    simulation = Simulation(seed=seed, start=_EPOCH + timedelta(milliseconds=image.at_ms), order="fifo")
    backend = MemoryBackend()
    own = {address: row for address, row in image.instances.items() if (address.kind, address.name) in served}
    # The epoch of the store: claims in the image belong to an earlier one, and are recovered as after a crash.
    backend.fill(own.values(), image.messages, image.holds, epoch=image.epoch)
    draws = _KeyedDraws(seed, image.at_ms, backend)
    runtime = attrs.evolve(simulation.runtime, random=draws.random, log=_forget)
    recorder = recording(served, performer, runtime, backend, key, most, frozenset(own), image.at_ms)
    services = NoServices() if performer.answers.services is None else performer.answers.services
    opened = for_rehearsal(app, services, history=history).open(
        recorder.watching(backend.open()),
        runtime=runtime,
        perform=recorder.perform,
        # The checks of hooks cost time in each turn, and their findings are no difference between the two codes.
        debug=False,
        draws=draws.of,
    )
    try:
        yield Stage(simulation, recorder, opened)
    finally:
        # Tasks that wait for effects without an answer never end by themselves.
        simulation.close()


def _advance(simulation: Simulation, recorder: Recorder, until_ms: int) -> None:
    while simulation.now_ms < until_ms:
        simulation.advance(min(LOOKS_EVERY_MS, until_ms - simulation.now_ms))
        # Raised here and not in `add`, which runs inside of a program or a commit: there the engine would take it for a
        # failed run.
        if recorder.acts > recorder.most_acts:
            raise TooManyActs.of(recorder.most_acts)


def _forget(_: object) -> None:
    """Write no log: a rehearsal would log what production will log."""


@attrs.define
class _KeyedDraws:
    """Draws random numbers and ids that depend on their purpose, not on the numbers before."""

    seed: int
    at_ms: int
    backend: MemoryBackend
    _drawn: int = 0

    def of(self, address: Address) -> tuple[Callable[[], float], Callable[[], int]]:
        return (lambda: share_of(self._number("jitter", address))), (lambda: self._id(address))

    def random(self) -> float:
        """Draw for the run that is in progress, or for the engine itself."""
        run = run_around()
        if run is None:
            self._drawn += 1
            return share_of(number_of(self.seed, "engine", self._drawn))
        return share_of(self._number("program", run[0], run[1].attempt))

    def _id(self, address: Address) -> int:
        # Without the clock: a run that moved keeps its id, and so its arguments.
        return self.at_ms << 80 | _VERSION_AND_VARIANT | (self._number("id", address) & 0x3FFFFFFF) << 32

    def _number(self, what: str, address: Address, *more: int) -> int:
        row = self.backend.instance(address)
        # The row says which run and which event draws. A counter of draws would shift all later numbers after one draw
        # more or less.
        place = (0, 0, 0) if row is None else (row.run_count, row.event_count, _attempt(row))
        return number_of(self.seed, what, address, *place, *more)


def _attempt(row: Instance) -> int:
    claim = row.claim or row.event_claim
    if claim is not None:
        return claim.attempt
    return 1 if row.pending_retry is None else row.pending_retry.attempt
