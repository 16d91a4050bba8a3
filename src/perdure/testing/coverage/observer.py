"""The observer: watches worlds, and counts which states met which events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
from returns.result import Result, Success

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import Request
from perdure.programs import Exit, Halted, Raised
from perdure.testing.coverage.observed import JobCoverage
from perdure.testing.coverage.tags import (
    ABSENT,
    ENDED,
    SUCCEEDED,
    declared_events,
    declared_exits,
    declared_states,
    event_tag,
    state_tag,
)
from perdure.testing.world import EffectCall, TraceEvent, World
from perdure.testing.world.trace_event import (
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


@attrs.define
class CoverageObserver:
    """Counts what is seen in any number of worlds.

    Attributes:
        jobs: what was observed, by the job printed ``kind:name``.
    """

    jobs: dict[str, JobCoverage] = attrs.Factory(dict[str, JobCoverage])

    def of(self, world: World) -> Callable[[TraceEvent], object]:
        """Give the watcher of one world."""
        return Eyes(self, lambda: world.app.served).watch

    def coverage(self, job: AnyDefinition) -> JobCoverage:
        """Give the counts of a job."""
        name = f"{job.kind}:{job.name}"
        if name not in self.jobs:
            states = (ABSENT, *declared_states(job))
            self.jobs[name] = JobCoverage(name, states, declared_events(job), declared_exits=declared_exits(job))
        return self.jobs[name]


@attrs.define
class Eyes:
    """Watches one world.

    Attributes:
        observer: where it is counted.
        served: the definitions, by kind and name.
    """

    observer: CoverageObserver
    served: Callable[[], Mapping[tuple[str, str], AnyDefinition]]
    _stored: dict[Address, Instance] = attrs.Factory(dict[Address, Instance])
    _asked: dict[int, tuple[Address, str, str]] = attrs.Factory(dict[int, tuple[Address, str, str]])
    _running: dict[Address, tuple[str, str]] = attrs.Factory(dict[Address, tuple[str, str]])

    def watch(self, moment: TraceEvent) -> None:
        """Take note of a moment."""
        match moment.what:
            case RequestSent(number, address, request):
                self._ask(number, address, request)
            case RequestAnswered(number, result):
                self._answer(number, result)
            case TransitionCommitted(transition):
                self._commit(transition)
            case ProgramEnded(address, hook, exit_):
                self._ended(address, hook, exit_)
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
        """Count what went wrong: for the job that it struck, or for all of them."""
        struck = None if address is None else self._job(address)
        for job in self.served().values() if struck is None else (struck,):
            self.observer.coverage(job).mishap(what)

    def _perform(self, call: EffectCall) -> None:
        job = self._job(call.address)
        if job is not None:
            self.observer.coverage(job).effect(call.name, call.declares)

    def _ended(self, address: Address, hook: str, exit_: Exit[Any, Any]) -> None:
        """Count how a hook ended."""
        job = self._job(address)
        if job is not None:
            self.observer.coverage(job).exit(hook, _exit(exit_))

    # ------------------------------------------------------------ requests
    def _ask(self, number: int, address: Address, request: Request) -> None:
        job = self._job(address)
        if job is not None:
            self._asked[number] = (address, self._tag(address), event_tag(job, request))

    def _answer(self, number: int, result: Result[Any, Any]) -> None:
        address, before, event = self._asked.pop(number, (None, "", ""))
        job = None if address is None else self._job(address)
        if address is None or job is None:
            return
        after = self._after(address, before) if isinstance(result, Success) else _refusal(result.failure())
        if after is not None:
            self.observer.coverage(job).step(before, event, after)

    def _after(self, address: Address, before: str) -> str:
        after = self._tag(address)
        return ENDED if after == ABSENT and before != ABSENT else after

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
        before = self._tag(address)
        if isinstance(transition.write, Put):
            self._stored[address] = transition.write.instance
        else:
            self._stored.pop(address, None)
        self._follow_run(counts, address, before)

    def _follow_run(self, counts: JobCoverage, address: Address, before: str) -> None:
        """A run that nobody asked for is counted when it is over: what woke it, and what came of it."""
        instance = self._stored.get(address)
        claim = None if instance is None else instance.claim
        if claim is not None:
            if claim.cause == "alarm":
                self._running.setdefault(address, (before, "alarm" if claim.attempt == 1 else "retry"))
        elif (run := self._running.pop(address, None)) is not None:
            status = "" if instance is None else instance.status
            after = "retrying" if status == "retrying" else self._after(address, run[0])
            counts.step(*run, after)


def _refusal(error: Any) -> str | None:  # a CallError
    """Why nothing changed, when it was the job's own doing."""
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
