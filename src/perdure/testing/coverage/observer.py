"""The observer: watches worlds, and counts pairs of state and event.

It also tells them apart when several requests are in progress at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
from returns.result import Result, Success

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import Request
from perdure.programs import Exit, Halted, Raised
from perdure.testing.coverage.job_coverage import (
    ABSENT,
    ENDED,
    SUCCEEDED,
    JobCoverage,
    declared_events,
    declared_exits,
    declared_states,
    event_tag,
    state_tag,
)
from perdure.testing.world import EffectCall, TraceEvent, World
from perdure.testing.world.trace import (
    EffectPerformed,
    FaultInjected,
    ProgramEnded,
    RequestAnswered,
    RequestSent,
    TransitionCommitted,
    WorkerKilled,
)
from perdure.values.address import Address
from perdure.values.errors import HookRaised, Rejected, RunTimeout
from perdure.values.event import Event, JobExecuted, JobParked, JobRecovered, JobRetryExhausted
from perdure.values.instance import Instance
from perdure.values.transition import KeepInstance, Put, Transition


@attrs.define(eq=False)
class RequestStep:
    """One request that has not returned yet. It is filled in later, so it is not a value.

    A request that runs a hook finds the state that is stored when the hook ends, in its turn. For a request without a
    hook, only its caller is observed: if another commit was made meanwhile, its states are unknown.

    Attributes:
        address: the instance.
        event: the tag of the request.
        request: the request.
        before: the tag of the state before it.
        after: the tag of the state after its commit; None before that commit.
        run_id: the run of its hook; None when no hook has run.
        commits: the number of commits of the instance while it was in progress.
        company: whether another request of the instance, or a run of its alarm, was in progress at the same time.
        repeats: whether an earlier request had its idempotency key.
    """

    address: Address
    event: str
    request: Request
    before: str
    repeats: bool
    after: str | None = None
    run_id: str | None = None
    commits: int = 0
    company: bool = False

    def ran(self, run_id: str, before: str) -> None:
        """Record that its hook ended. A turn with a conflict is repeated, and runs its hook again."""
        self.run_id, self.before, self.after = run_id, before, None

    def committed(self, old: Instance | None, new: Instance | None, after: str) -> None:
        """Record a commit of the instance.

        Args:
            old: the instance before.
            new: the instance after.
            after: the tag of its state.
        """
        self.commits += 1
        if self.run_id is None or self.after is not None:
            return
        if self.run_id not in run_ids(old) or self.run_id not in run_ids(new):
            self.after = after

    @property
    def is_known(self) -> bool:
        """Return whether the state before it is known."""
        return self.run_id is not None or not (self.repeats or self.commits > 1 or (self.commits == 1 and self.company))

    def left(self, stored: str) -> str | None:
        """Return the tag of the state after a request that succeeded; None when that is unknown.

        Args:
            stored: the tag of the stored state when its caller receives the result.
        """
        return stored if self.run_id is None else self.after


def run_ids(instance: Instance | None) -> frozenset[str]:
    """Return the runs that have a claim on an instance."""
    claims = () if instance is None else (instance.claim, instance.event_claim)
    return frozenset(claim.run_id for claim in claims if claim is not None)


@attrs.define
class CoverageObserver:
    """Counts the observations in any number of worlds.

    Attributes:
        jobs: the observations, by the job printed ``kind:name``.
    """

    jobs: dict[str, JobCoverage] = attrs.Factory(dict[str, JobCoverage])

    def of(self, world: World) -> Callable[[TraceEvent], object]:
        """Return the watcher of one world."""
        return WorldObserver(self, lambda: world.app.served).watch

    def coverage(self, job: AnyDefinition) -> JobCoverage:
        """Return the observations of a job."""
        name = f"{job.kind}:{job.name}"
        if name not in self.jobs:
            states = (ABSENT, *declared_states(job))
            self.jobs[name] = JobCoverage(name, states, declared_events(job), declared_exits=declared_exits(job))
        return self.jobs[name]


@attrs.define
class WorldObserver:
    """Watches one world.

    Attributes:
        observer: the observer that counts.
        served: the definitions, by kind and name.
    """

    observer: CoverageObserver
    served: Callable[[], Mapping[tuple[str, str], AnyDefinition]]
    _stored: dict[Address, Instance] = attrs.Factory(dict[Address, Instance])
    _asked: dict[int, RequestStep] = attrs.Factory(dict[int, RequestStep])
    _keys: set[tuple[Address, str]] = attrs.Factory(set[tuple[Address, str]])
    _met: dict[str, str] = attrs.Factory(dict[str, str])
    _running: dict[Address, tuple[str, str]] = attrs.Factory(dict[Address, tuple[str, str]])

    def watch(self, moment: TraceEvent) -> None:
        """Record an event of the world."""
        match moment.what:
            case RequestSent(number, address, request):
                self._ask(number, address, request)
            case RequestAnswered(number, result):
                self._answer(number, result)
            case TransitionCommitted(transition):
                self._commit(transition)
            case ProgramEnded():
                self._ended(moment.what)
            case EffectPerformed(call):
                self._perform(call)
            case FaultInjected(fault, address):
                self._mishap(f"{type(fault).__name__.lower()} {fault.when} {fault.at}", address)
            case WorkerKilled(at):
                self._mishap(f"crash {at}")
            case _:
                pass

    def _job(self, address: Address) -> AnyDefinition | None:
        return self.served().get((address.kind, address.name))

    def _tag(self, address: Address) -> str:
        job = self._job(address)
        return ABSENT if job is None else state_tag(job, self._stored.get(address))

    def _mishap(self, what: str, address: Address | None = None) -> None:
        """Count a fault: for the job of its instance, or for all jobs."""
        struck = None if address is None else self._job(address)
        for job in self.served().values() if struck is None else (struck,):
            self.observer.coverage(job).mishap(what)

    def _perform(self, call: EffectCall) -> None:
        job = self._job(call.address)
        if job is not None:
            self.observer.coverage(job).effect(call.name, call.declares)

    def _ended(self, ran: ProgramEnded) -> None:
        """Count the exit of a hook, and record the state before its request."""
        job = self._job(ran.address)
        if job is not None:
            self.observer.coverage(job).exit(ran.hook, _exit(ran.exit))
        for step in self._asked.values():
            if step.request is ran.request:
                step.ran(ran.run_id, self._met.get(ran.run_id) or self._tag(ran.address))

    # ------------------------------------------------------------ requests
    def _ask(self, number: int, address: Address, request: Request) -> None:
        job = self._job(address)
        if job is None:
            return
        key = request.idempotency_key
        repeats = key is not None and (address, key) in self._keys
        if key is not None:
            self._keys.add((address, key))
        step = RequestStep(address, event_tag(job, request), request, self._tag(address), repeats)
        step.company = address in self._running
        for other in self._at(address):
            other.company = step.company = True
        self._asked[number] = step

    def _answer(self, number: int, result: Result[Any, Any]) -> None:
        step = self._asked.pop(number, None)
        job = None if step is None else self._job(step.address)
        if step is None or job is None or not step.is_known:
            return
        after = step.left(self._tag(step.address)) if isinstance(result, Success) else _refusal(result.failure())
        if after is not None:
            self.observer.coverage(job).step(step.before, step.event, _ended_if_gone(step.before, after))

    def _at(self, address: Address) -> list[RequestStep]:
        return [step for step in self._asked.values() if step.address == address]

    # ------------------------------------------------------------ commits
    def _commit(self, transition: Transition) -> None:
        job, address = self._job(transition.address), transition.address
        if job is None:
            return
        counts = self.observer.coverage(job)
        for event in transition.events:
            _count_exit(counts, event)
        if isinstance(transition.write, KeepInstance):
            return
        before, old = self._tag(address), self._stored.get(address)
        if isinstance(transition.write, Put):
            self._stored[address] = transition.write.instance
        else:
            self._stored.pop(address, None)
        new, after = self._stored.get(address), self._tag(address)
        for run_id in run_ids(new) - run_ids(old):
            self._met.setdefault(run_id, before)
        for step in self._at(address):
            step.committed(old, new, after)
        for run_id in run_ids(old) - run_ids(new):
            self._met.pop(run_id, None)
        self._follow_run(counts, address, before)

    def _follow_run(self, counts: JobCoverage, address: Address, before: str) -> None:
        """Count a run without a request when it has ended: its cause, and the resulting state."""
        instance = self._stored.get(address)
        claim = None if instance is None else instance.claim
        if claim is not None:
            if claim.cause == "alarm":
                for step in self._at(address):
                    step.company = True
                self._running.setdefault(address, (before, "alarm" if claim.attempt == 1 else "retry"))
        elif (run := self._running.pop(address, None)) is not None:
            status = "" if instance is None else instance.status
            after = "retrying" if status == "retrying" else _ended_if_gone(run[0], self._tag(address))
            counts.step(*run, after)


def _ended_if_gone(before: str, after: str) -> str:
    return ENDED if after == ABSENT and before != ABSENT else after


def _refusal(error: Any) -> str | None:  # a CallError
    """Return why nothing changed, when the job's own code decided it."""
    if isinstance(error, Rejected):
        return f"refused: {error.error.__class__.__name__}"  # pyright: ignore[reportUnknownMemberType] # of the job's own type
    return f"crashed: {error.error_type}" if isinstance(error, HookRaised) else None


def _exit(exit_: Exit[Any, Any]) -> str:
    match exit_:
        case Success():
            return SUCCEEDED
        case Halted():
            return "ended the instance"
        case Raised(cause):
            form = "timed out" if isinstance(cause, RunTimeout) else "defect"
            return f"{form} {type(cause).__name__}"
        case _:
            error: object = exit_.failure()
            return f"failure {type(error).__name__}"


def _count_exit(counts: JobCoverage, event: Event) -> None:
    match event:
        case JobExecuted(cause=cause):
            counts.exit(f"run by {cause}", SUCCEEDED)
        case JobRetryExhausted(reason=reason):
            counts.exit("retry", f"exhausted ({reason})")
        case JobParked(reason=reason):
            counts.exit("parked", reason)
        case JobRecovered(cause=cause):
            counts.exit(f"run by {cause}", "delivered again")
        case _:
            pass
