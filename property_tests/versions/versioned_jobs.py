"""One version of the code: a job of each kind, whose types carry a drawn payload, and the services that they call.

A job keeps the numbers of the requests that it handled, and the last payload. Each effect names the work that it does
and its key, so that a test sees a repeat with another key.

This module evaluates its annotations: effects declare types that exist only at run time.
"""

import functools
from itertools import count
from typing import Any, Protocol

import attrs
from attrs import evolve, frozen
from returns.result import Failure, Result, Success
from type_pairs import Built, Model

from perdure import (
    App,
    Backoff,
    Continuous,
    Debounce,
    Do,
    Limits,
    Migrations,
    Retry,
    Signal,
    Task,
    WorkerPool,
    Workflow,
    effect,
    every,
    program,
    step_key,
    succeed,
    tell,
)
from perdure.programs import sleep

KINDS = ("task", "debounce", "continuous", "pool", "workflow")
RETRY: Retry[Any] = Retry(3, Backoff.constant("1 second"))
PATIENT: Retry[Any] = Retry(100, Backoff.constant("1 second"))
"""For a job whose next run would begin with another key after the last attempt."""

ECHO = "~"
"""Ends the id of an instance that is sent messages only."""

FORWARDED = "~~"
"""Ends the id of an instance that is sent the payload of another instance's state."""

PART = "-part"
"""Ends the id of a workflow that another one called."""


@frozen
class Version:
    """The parts of a version of the code.

    Attributes:
        payload: the type that states, events, items, results, errors and signals carry.
        features: the changes of the types around it, and of hooks: of `ADDITIVE` or `BREAKING`.
        rounds: how many steps a workflow performs before the others.
    """

    payload: Model
    features: frozenset[str] = frozenset()
    rounds: int = 0


ADDITIVE = {
    "task": ("state field", "state class", "event class", "error field", "error class", "new job"),
    "debounce": ("state field", "state class", "event class", "error field", "error class"),
    "continuous": ("state field", "state class", "error field", "error class"),
    "pool": ("state field", "result field", "error field", "error class"),
    "workflow": (
        *("state field", "result field", "signal field", "answer field", "error class", "effects at the end"),
        "a limit",
    ),
}
"""The additive changes beside those of the payload, by kind."""

BREAKING = {
    "task": ("state field less", "state field of another type"),
    "debounce": ("state field less", "state field of another type"),
    "continuous": ("state field less", "state field of another type"),
    "pool": (),
    "workflow": ("step renamed", "step before the wait"),
}
"""The breaking changes beside those of the payload, by kind."""


# ---------------------------------------------------------------- services
class Outside(Protocol):
    """An external system."""

    async def hear(self, work: str, key: str) -> bool:
        """Do some work, and return whether it is done; it is refused otherwise."""
        ...


# ---------------------------------------------------------------- the code
def _class(name: str, **types: Any) -> Any:
    """Make an attrs class from types, or pairs of a type and a default."""
    fields = {
        key: attrs.field(type=form[0], default=form[1]) if isinstance(form, tuple) else attrs.field(type=form)
        for key, form in types.items()
    }
    return attrs.make_class(name, fields, frozen=True)


class Code:
    """The classes and the jobs of one version.

    Attributes:
        version: the version.
        older: the code whose states this one upgrades; None if its states have no versions.
    """

    def __init__(self, version: Version, older: "Code | None" = None) -> None:
        self.version = version
        self.older = older
        self.built = Built(version.payload)
        payload = self.built.form
        self.Box = self._box("Box", payload)
        self.Sealed = self._box("Sealed", payload, by=(str, "seal"))
        self.State = self.Box | self.Sealed if self.has("state class") else self.Box
        self.Put = _class("Put", number=int, payload=payload)
        self.Touch = _class("Touch", number=int)
        self.Extra = _class("Extra", number=int, word=(str, ""))
        self.Refusal = _class("Refusal", work=str, **self._if("error field", hint=(str, "")))
        self.Busy = _class("Busy", work=str)
        self.Answer = _class("Answer", work=str, **self._if("answer field", hint=(str, "")))
        self.Item = _class("Item", number=int, payload=payload, **self._if("state field", note=(str, "")))
        more = self._if("result field", more=(int, 0))
        self.Result = _class("Result", number=int, payload=payload, part=(payload | None, None), **more)
        self.Go = _class("Go", number=int, payload=payload, **self._if("signal field", note=(str, "")))
        self.Event = self.Put | self.Touch | self.Extra if self.has("event class") else self.Put | self.Touch
        self.Error = self.Refusal | self.Busy if self.has("error class") else self.Refusal
        self.hear = self._effect()

    def has(self, feature: str) -> bool:
        """Return whether this version has a feature."""
        return feature in self.version.features

    def _if(self, feature: str, **types: Any) -> dict[str, Any]:
        return types if self.has(feature) else {}

    def _box(self, name: str, payload: Any, **further: Any) -> Any:
        spare: dict[str, Any] = {"spare": (str, "") if self.has("state field of another type") else (int, 0)}
        types = {} if self.has("state field less") else spare
        noted = self._if("state field", note=(str, ""))
        empty = {"seen": (tuple[int, ...], ()), "runs": (int, 0), "payload": (payload | None, None)}
        return _class(name, **empty, **types, **noted, **further)

    @functools.cached_property
    def upgrades(self) -> Migrations[Any] | None:
        """The chain of states, if this code upgrades older ones."""
        if self.older is None:
            return None
        old, new = self.older, self

        def upgraded(before: old.Box) -> new.Box:
            """Keep the fields that the laws count."""
            return new.Box(seen=before.seen, runs=before.runs)

        return Migrations(old.Box).then(upgraded)

    def _effect(self) -> Any:
        new = self

        async def hear(services: Outside, work: str, key: str) -> Result[new.Answer, new.Error]:
            """Do some work outside."""
            done = await services.hear(work, key)
            return Success(new.answer(work)) if done else Failure(new.refusal(work))

        if self.has("step renamed"):
            hear.__name__ = "listen"
        return effect(hear)

    # ------------------------------------------------------------ values with the fields of the features
    def answer(self, work: str) -> Any:
        """Return the answer to some work."""
        return self.Answer(work, **self._if("answer field", hint="done"))

    def refusal(self, work: str) -> Any:
        """Return the error of some work."""
        error = self.Busy(work) if self.has("error class") and len(work) % 2 else self.Refusal(work)
        return evolve(error, hint="again") if self.has("error field") and isinstance(error, self.Refusal) else error

    def after(self, box: Any, event: Any) -> Any:
        """Return the state after an event."""
        given = {"payload": event.payload} if isinstance(event, self.Put) else {}
        noted = self._if("state field", note=f"n{event.number}")
        box = evolve(box, seen=(*box.seen, event.number), **given, **noted)
        if not self.has("state class") or event.number % 4:
            return box
        return self.Sealed(**{field.name: getattr(box, field.name) for field in attrs.fields(self.Box)})

    # ------------------------------------------------------------ jobs
    def job(self, kind: str) -> Any:
        """Return the job of a kind."""
        return self._jobs[kind]

    @functools.cached_property
    def _jobs(self) -> dict[str, Any]:
        return {kind: getattr(self, f"_{kind}")() for kind in KINDS}

    def jobs(self, kind: str) -> tuple[Any, ...]:
        """Return the job of a kind, with those that it calls, and with a further job if this version adds one."""
        further = [Task("further", state=int, event=int, initial=0, on_event=_ignore)] if self.has("new job") else []
        return (self.job(kind), *([self.parts] if kind == "workflow" else []), *further)

    def app(self, outside: Outside, kind: str, limits: Limits) -> App[Any]:
        """Return the app with the jobs of a kind."""
        return App(outside, limits=limits).with_jobs(*self.jobs(kind))

    def _task(self) -> Any:
        @program
        def on_event(ctx: Any, event: Any) -> Do[None, Any, Any]:
            box = yield from ctx.state
            if event.number % 2 and not ctx.id.endswith(ECHO):
                yield from self.hear(f"event {event.number} of {ctx.id}", ctx.run_id)
            if event.number % 3 == 0 and not ctx.id.endswith(ECHO):
                yield from tell(self.job("task"), f"{ctx.id}{ECHO}").send(event)
            yield from ctx.set_state(self.after(box, event))
            if not ctx.id.endswith(FORWARDED):
                yield from ctx.schedule(after="2 seconds")

        return Task(
            "orders",
            state=self.State,
            event=self.Event,
            initial=self.Box(),
            on_event=on_event,
            execute=self._execute(sends=True),
            retry=RETRY,
            errors=self.Error,
            versions=self.upgrades,
        )

    def _execute(self, *, sends: bool = False) -> Any:
        @program
        def execute(ctx: Any) -> Do[None, Any, Any]:
            box = yield from ctx.state
            yield from self.hear(f"run {box.runs} of {ctx.id}", ctx.run_id)
            yield from ctx.update_state(lambda now: evolve(now, runs=now.runs + 1))
            if sends and box.payload is not None:
                yield from tell(self.job("task"), f"{ctx.id}{FORWARDED}").send(self.Put(0, box.payload))

        return execute

    def _debounce(self) -> Any:
        @program
        def on_event(ctx: Any, event: Any) -> Do[None, Any, Any]:
            box = yield from ctx.state
            yield from ctx.set_state(self.after(box, event))

        @program
        def flush(ctx: Any) -> Do[None, Any, Any]:
            box = yield from ctx.state
            yield from self.hear(f"batch {' '.join(map(str, box.seen))} of {ctx.id}", ctx.run_id)

        return Debounce(
            "mails",
            event=self.Event,
            state=self.State,
            initial=self.Box(),
            flush_after="3 seconds",
            on_event=on_event,
            execute=flush,
            retry=RETRY,
            errors=self.Error,
            versions=self.upgrades,
        )

    def _continuous(self) -> Any:
        return Continuous(
            "reports",
            state=self.State,
            schedule=every("5 seconds"),
            execute=self._execute(),
            retry=PATIENT,
            errors=self.Error,
            versions=self.upgrades,
        )

    def _pool(self) -> Any:
        @program
        def work(ctx: Any) -> Do[Any, Any, Any]:
            item = yield from ctx.item
            yield from self.hear(f"item {ctx.id}", ctx.run_id)
            return self.Result(item.number, item.payload, **self._if("result field", more=7))

        return WorkerPool(
            "pictures", item=self.Item, work=work, workers=3, retry=RETRY, result=self.Result, errors=self.Error
        )

    @functools.cached_property
    def go(self) -> Any:
        """The signal that a workflow waits for."""
        return Signal("go", self.Go)

    @functools.cached_property
    def parts(self) -> Any:
        """The workflow that another one calls."""

        @program
        def run(ctx: Any) -> Do[Any, Any, Any]:
            part = yield from ctx.state
            yield from self._step(f"part of {ctx.id}")
            yield from sleep("1 second")
            yield from self._step(f"last part of {ctx.id}")
            return self.Result(part.number, part.payload, **self._if("result field", more=8))

        return Workflow(
            "parts",
            state=self.Item,
            run=run,
            result=self.Result,
            errors=self.Error,
            retry_defects=RETRY,
            keep="1 day",
        )

    def _workflow(self) -> Any:
        # As values, so that the program's source has these steps only in the versions that perform them.
        added = self._step if self.has("step before the wait") else _no_step
        further = self._step if self.has("effects at the end") else _no_step

        @program
        def run(ctx: Any) -> Do[Any, Any, Any]:
            start = yield from ctx.state
            for number in range(self.version.rounds):
                yield from self._step(f"round {number} of {ctx.id}")
            yield from self._step(f"first of {ctx.id}")
            part = yield from self.parts.call(f"{ctx.id}{PART}", start)
            yield from added(f"added of {ctx.id}")
            yield from sleep("1 second")
            go = yield from self.go.receive()
            yield from self._step(f"last of {ctx.id}")
            yield from further(f"further of {ctx.id}")
            yield from further(f"very last of {ctx.id}")
            more = self._if("result field", more=7)
            return self.Result(part.number + go.number, go.payload, part=part.payload, **more)

        return Workflow(
            "sales",
            state=self.Item,
            run=run,
            signals=(self.go,),
            result=self.Result,
            errors=self.Error,
            retry_defects=RETRY,
            keep="1 day",
            # So high that no history of requests fills it: older code begins its starts without a place.
            concurrency=1_000 if self.has("a limit") else None,
        )

    @program
    def _step(self, work: str) -> Do[Any, Any, Any]:
        """Do some work as a step, again until it is done."""
        for number in count():
            key = yield from step_key()
            outcome = yield from self.hear(f"{work}, try {number}", key).attempt()
            if isinstance(outcome, Success):
                return outcome.unwrap()


@program
def _ignore(ctx: Any, event: int) -> Do[None]:
    yield from ctx.set_state(event)


@program
def _no_step(_: str) -> Do[None]:
    yield from succeed(None)
