"""An app's virtual objects, and the ASGI application that a worker serves to a Restate cluster.

All handlers have Restate's explicit recovery: an invocation that is delivered again starts from the beginning, and
reads its progress from the state.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias, cast

import attrs
import restate
from restate import ObjectContext, ObjectSharedContext, VirtualObject
from restate._preview import explicit_recovery
from restate.exceptions import TerminalError
from restate.retry_policy import InvocationRetryPolicy
from restate.serde import BytesSerde

from perdure.app import App
from perdure.integrations.restate.mailbox import (
    applied,
    armed,
    deferred_fate,
    due_of,
    fate_of,
    fate_of_unread,
    first_due,
    held_behind,
    inbound_of,
    is_beside,
    is_dropped,
    is_waiting,
    journal_key,
    loaded_of,
    order_of,
    queued,
    row_of,
    run_key,
    running_in,
    settled,
    waits_behind,
)
from perdure.integrations.restate.runs import RunObject
from perdure.integrations.restate.wire import (
    DEAD_LETTERS,
    EMPTY,
    EVENT_RUN,
    MAILBOX,
    RUN,
    STATE,
    AlarmOrder,
    CommittedRow,
    JournalRows,
    MailboxState,
    MessageOrder,
    PendingRun,
    RecoverOrder,
    RunEnd,
    TurnAnswer,
    TurnRequest,
    WriteAnswer,
    WriteOrder,
    decoded,
    encoded,
)
from perdure.interpreters import (
    ALARM,
    RECOVER,
    Commit,
    Defer,
    Mark,
    Purge,
    Put,
    RecoverFirst,
    Request,
    Transition,
    TurnInputs,
    decide,
    decode_transition,
    early_answer,
)
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.messages import received
from perdure.jobs.plan import check_services
from perdure.jobs.request import within
from perdure.kinds.workflow.declared_steps import limited_effects
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.runtime.record import Runtime
from perdure.values.address import Address
from perdure.values.errors import DefinitionError, InvalidInput, OutcomeUnknown, PerdureError, RequestError, UnknownJob
from perdure.values.message import StoredMessage

SERVED_KINDS: Final = ("task", "continuous", "debounce", "workflow")
"""The kinds whose jobs run on Restate."""

STOPPED_MS: Final = 500
"""How long a run that was stopped waits for a ``terminate``, before it is delivered again."""

RETRY: Final = InvocationRetryPolicy(
    initial_interval=timedelta(milliseconds=50), exponentiation_factor=2, max_interval=timedelta(seconds=2)
)
"""How Restate repeats invocations whose worker died."""

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]


# ---------------------------------------------------------------- the app
@attrs.define
class ServedApp:
    """The parts that an app's objects share.

    Attributes:
        services: its services. None before a factory's services are entered.
        make_runtime: makes the runtime in the event loop.
    """

    app: App[Any]
    jobs: Mapping[tuple[str, str], AnyDefinition]
    services: Any = None
    make_runtime: Callable[[], Runtime] = asyncio_runtime
    _runtime: Runtime | None = None

    @property
    def runtime(self) -> Runtime:
        """The event loop's runtime."""
        if self._runtime is None:
            # Made in the event loop, which does not exist yet when the app is assembled.
            self._runtime = self.make_runtime()
        return self._runtime

    def inputs(self, running: tuple[str, ...] = (), epoch: int = 1) -> TurnInputs:
        """Collect one decision's inputs."""
        return TurnInputs(
            now_ms=self.runtime.now_ms(),
            jitter=self.runtime.random(),
            id_base=self.runtime.new_id(),
            epoch=epoch,
            running=running,
            limits=self.app.limits,
            wants_events=False,
        )

    def job(self, address: Address) -> AnyDefinition:
        """Return an instance's definition.

        Raises:
            UnknownJob: this code has none. Restate repeats the invocation until a worker has it.
        """
        job = self.jobs.get((address.kind, address.name))
        if job is None:
            raise UnknownJob(address.kind, address.name, tuple(map(":".join, self.jobs)))
        return job


@attrs.define
class RestateApp:
    """The ASGI application that `restate_app` returns. Serve it over HTTP/2, such as with hypercorn.

    Attributes:
        worker: the app's definitions and services.
        endpoint: the SDK's application.
    """

    worker: ServedApp
    endpoint: Callable[[Scope, Receive, Send], Awaitable[None]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or enter the services when the server starts and exit them when it stops."""
        if scope["type"] != "lifespan":
            await self.endpoint(scope, receive, send)
            return
        await receive()
        async with AsyncExitStack() as stack:
            try:
                await self._enter(stack)
            # Without this message, some servers start anyway, and every invocation fails.
            except Exception as error:  # noqa: BLE001 - the server reports it, and ends
                await send({"type": "lifespan.startup.failed", "message": repr(error)})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _enter(self, stack: AsyncExitStack) -> None:
        if not callable(self.worker.app.services):
            return
        manager: Any = self.worker.app.services()
        services = await stack.enter_async_context(manager)
        for job in self.worker.jobs.values():
            # Before the server says that it is ready: a missing service is found at the start, and not by the first
            # customer.
            check_services(services, job.plan.needs, job=f"{job.kind}:{job.name}")
        self.worker.services = services


def restate_app(app: App[Any], /, *, identity_keys: Sequence[str] = ()) -> RestateApp:
    """Return the ASGI application that serves an app's jobs to a Restate cluster.

    Serve it over HTTP/2 with ``hypercorn module:application``, and register its URL with the cluster.

    Args:
        app: the app, with its services.
        identity_keys: the cluster's public keys: requests that it has not signed are refused.

    Raises:
        DefinitionError: the app has a part that only an engine serves. The message names it.
    """
    check_served(app)
    worker = ServedApp(app, app.served, None if callable(app.services) else app.services)
    # Events have a run object of their own: in one object, an event would wait for the run in progress.
    objects = (_mailbox(worker), _runs(worker, RUN), _runs(worker, EVENT_RUN), _dead_letters())
    endpoint: Any = restate.app(services=objects, protocol="bidi", identity_keys=list(identity_keys) or None)
    return RestateApp(worker, endpoint)


def check_served(given: App[Any]) -> None:
    """Check that Restate can serve an app.

    Raises:
        DefinitionError: it cannot.
    """
    if not isinstance(given, App):  # pyright: ignore[reportUnnecessaryIsInstance] - not every caller has types
        raise DefinitionError("app of restate_app", given, "an App with jobs, such as App(services).with_jobs(orders)")
    parts: tuple[tuple[str, object, str], ...] = (
        ("sinks", tuple(sink.name for sink in given.sinks), "no sinks: Restate exports its own metrics and traces"),
        ("encryption", () if given.encryption is None else "keys", "no encryption: Restate stores plain JSON"),
        ("ensured instances", tuple(map(str, given.ensured)), "no declared instances: create them with a call"),
    )
    for what, found, expected in parts:
        if found:
            raise DefinitionError(f"{what} of restate_app", found, expected)
    if not given.served:
        raise DefinitionError("jobs of restate_app", "none", "at least one job: with_jobs(...) first")
    for job in given.served.values():
        _check_job(job)


def _check_job(job: AnyDefinition) -> None:
    name = f"{job.kind}:{job.name}"
    if job.kind not in SERVED_KINDS:
        raise DefinitionError("jobs of restate_app", name, f"jobs of the kinds {', '.join(SERVED_KINDS)}")
    bounded = job.most_under_way is not None or job.plan.runs is not None
    parts: tuple[tuple[str, bool, str], ...] = (
        ("lanes", job.lanes is not None, "none: Restate has no lanes"),
        ("concurrency limits", bool(job.plan.limits) or bounded, "none: Restate limits each worker's invocations"),
        ("attributes", bool(job.plan.attributes), "none: Restate's SQL has no index for them"),
        ("streams", bool(job.plan.streams), "none: a mailbox stores no chunks"),
        ("heartbeats", bool(job.plan.heartbeats), "none: they need an engine"),
    )
    for what, has_it, expected in parts:
        if has_it:
            raise DefinitionError(f"{what} of {name}", "declared", f"{expected}, as restate_app serves it")
    limited = limited_effects(job.plan.hooks.values())
    if limited:
        expected = "none: they need an engine. Remove limits=... from the effects"
        raise DefinitionError(f"limits of the effects of {name}", ", ".join(limited), expected)


# ---------------------------------------------------------------- the virtual objects
def _object(name: str, **options: Any) -> VirtualObject:
    made = VirtualObject(
        name,
        # The state has all that a repeat needs, so Restate need not keep the journals of its own.
        journal_retention=timedelta(0),
        idempotency_retention=timedelta(minutes=10),
        invocation_retry_policy=RETRY,
        **options,
    )
    return explicit_recovery(made)


_BYTES: Final[Any] = BytesSerde()


def _add(made: VirtualObject, name: str, method: object, kind: Literal["exclusive", "shared"] = "exclusive") -> None:
    made.handler(name, kind, input_serde=_BYTES, output_serde=_BYTES)(method)


def _mailbox(worker: ServedApp) -> VirtualObject:
    made, handlers = (
        _object(MAILBOX, inactivity_timeout=_longest(worker), abort_timeout=timedelta(seconds=10)),
        Mailboxes(worker),
    )
    for name in ("turn", "alarm", "deliver", "redeliver", "recover", "commit"):
        _add(made, name, getattr(handlers, name))
    # Shared handlers run beside the exclusive one: a read must not wait for a run, and an interruption cannot.
    for name in ("read", "journal", "interrupt"):
        _add(made, name, getattr(handlers, name), "shared")
    return made


def _runs(worker: ServedApp, name: str) -> VirtualObject:
    made = _object(
        name,
        inactivity_timeout=_longest(worker),
        abort_timeout=timedelta(seconds=10),
        ingress_private=name == EVENT_RUN,
    )
    _add(made, "run", RunObject(worker.jobs, worker.inputs, lambda: worker.services, lambda: worker.runtime).run)
    return made


def _longest(worker: ServedApp) -> timedelta:
    """Return how long an invocation may be silent: Restate suspends one that is silent for longer, and repeats it."""
    # One timeout for all: Restate has it for each service, and jobs share the services.
    longest = max(job.plan.run_timeout_ms for job in worker.jobs.values())
    return timedelta(milliseconds=longest) + timedelta(minutes=1)


def _dead_letters() -> VirtualObject:
    made = _object(DEAD_LETTERS, ingress_private=True)

    async def keep(ctx: ObjectContext, body: bytes) -> bytes:
        # By invocation: a repeat overwrites its own letter.
        ctx.set(f"letter {ctx.request().id}", body, _BYTES)
        return b""

    _add(made, "keep", keep)
    return made


@attrs.frozen
class Turn:
    """One mailbox invocation.

    Attributes:
        ctx: Restate's context.
    """

    ctx: ObjectContext
    job: AnyDefinition
    address: Address


@attrs.frozen
class Mailboxes:
    """All mailboxes' handlers."""

    worker: ServedApp

    # ------------------------------------------------------------ requests
    async def turn(self, ctx: ObjectContext, body: bytes) -> bytes:
        """Decide a caller's request."""
        state, answered = await self._opened(ctx)
        if answered is not None:
            return answered
        try:
            turn = self._turn(ctx)
            request = self._checked(turn.job, decoded(TurnRequest, body))
        except RequestError as refused:
            job = self.worker.jobs.get(_job_of(ctx.key()))
            return encoded(TurnAnswer.refused(job, refused))
        before = state
        state, answer = await self._decided(turn, state, request)
        # An operator who resumes an instance has repaired the cause: its messages need not wait out their pauses.
        if request.action == "resume" and state.held:
            held = tuple(attrs.evolve(each, not_before_ms=0) for each in state.held)
            state = queued(attrs.evolve(state, held=held), MAILBOX, "redeliver", ctx.key(), EMPTY)
        return await self._close(ctx, before, state, encoded(answer))

    def _checked(self, job: AnyDefinition, given: TurnRequest) -> Request:
        """Return a caller's request.

        Raises:
            RequestError: it is not valid, too large, or needs another instance's rows.
        """
        limits = self.worker.app.limits
        most = job.max_input(given.action, limits.payload_bytes, limits.input_bytes)
        within(given.payload.encode(), most, what=f"{given.action} of {job.kind}:{job.name}")
        request = given.parsed(job)
        # A fork reads another instance's journal, and one mailbox cannot read another's state atomically.
        if type(request.command) in job.copying:
            raise InvalidInput(given.action, (f"{given.action} is not served on Restate: it reads another instance",))
        return request

    async def alarm(self, ctx: ObjectContext, body: bytes) -> bytes:
        """Decide an alarm that is due, unless a later one was armed. Without an instance, delete the mailbox."""
        state, answered = await self._opened(ctx)
        if answered is not None or decoded(AlarmOrder, body).number != state.alarms:
            return answered or b""
        turn, now_ms = self._turn(ctx), self.worker.runtime.now_ms()
        # This alarm has fired: whatever is due next is armed by the write.
        state = attrs.evolve(state, armed_ms=None)
        if not is_waiting(state):  # else this invocation has begun a run before
            due_ms = due_of(state)
            if due_ms is None or due_ms > now_ms:
                return await self._close(ctx, None, armed(state, ctx.key(), now_ms), b"")
            # Held messages are in the state, and would be lost with it.
            if state.row is None and not state.held:
                ctx.clear_all()
                return b""
        if state.row is not None:
            state, _ = await self._decided(turn, state, ALARM)
        return await self._close(ctx, None, state, b"")

    async def recover(self, ctx: ObjectContext, body: bytes) -> bytes:
        """Deliver a run again whose invocation was cancelled or killed."""
        state, answered = await self._opened(ctx)
        if answered is not None:
            return answered
        run_id = decoded(RecoverOrder, body).run_id
        row = row_of(state)
        if row is None or (row.claim is None and row.event_claim is None):
            return b""  # a terminate came first, or another request delivered it
        stopped = run_id or ("" if row.claim is None else row.claim.run_id)
        state, _ = await self._decided(self._turn(ctx), attrs.evolve(state, stopped=stopped), RECOVER)
        return await self._close(ctx, None, state, b"")

    # ------------------------------------------------------------ messages
    async def deliver(self, ctx: ObjectContext, body: bytes) -> bytes:
        """Decide a message. It waits behind an earlier one from its sender."""
        state, answered = await self._opened(ctx)
        if answered is not None:
            return answered
        stored = decoded(MessageOrder, body).message
        if not is_waiting(state):
            if is_dropped(state, stored):
                return b""
            if waits_behind(state, stored):
                return await self._close(ctx, None, held_behind(state, stored), b"")
        return await self._close(ctx, None, await self._delivered(self._turn(ctx), state, stored), b"")

    async def redeliver(self, ctx: ObjectContext, _: bytes) -> bytes:
        """Decide the first message that waits and is due."""
        state, answered = await self._opened(ctx)
        if answered is not None:
            return answered
        stored = first_due(state, self.worker.runtime.now_ms())
        if stored is None:
            return b""
        return await self._close(ctx, None, await self._delivered(self._turn(ctx), state, stored), b"")

    async def _delivered(self, turn: Turn, state: MailboxState, stored: StoredMessage) -> MailboxState:
        """Decide a message. One that waited stays in the state until its fate is known."""
        message, inputs = stored.message, self.worker.inputs()
        try:
            request = received(turn.job, message.action, message.payload)
        except InvalidInput as problem:
            return settled(state, stored, fate_of_unread(stored, problem, inputs))
        except RequestError:
            return settled(state, stored, None)
        request = attrs.evolve(request, inbound=inbound_of(stored), wait_for="start")
        state, answer = await self._decided(turn, state, request)
        if answer.form == "deferred":
            return settled(state, stored, deferred_fate(stored, inputs.now_ms))
        if answer.form != "problem":
            return settled(state, stored, None)
        error = cast("PerdureError", answer.result(turn.job).failure())
        return settled(state, stored, fate_of(stored, error, self.worker.inputs()))

    # ------------------------------------------------------------ runs beside the mailbox
    async def commit(self, ctx: ObjectContext, body: bytes) -> bytes:
        """Write a transition of a run beside the mailbox, if the row has the expected fence."""
        state, answered = await self._opened(ctx)
        if answered is not None:
            return answered
        transition = decode_transition(decoded(WriteOrder, body).transition)
        row = row_of(state)
        # The run decided on a row that another turn may have changed since. A transition without a write, such as
        # messages alone, has nothing to conflict with.
        if isinstance(transition.write, Put | Purge) and transition.expected != (None if row is None else row.fence):
            return encoded(WriteAnswer(written=False))
        state = self._apply(self._turn(ctx), state, transition)
        return await self._close(ctx, None, state, encoded(WriteAnswer(written=True)))

    async def read(self, ctx: ObjectSharedContext, _: bytes) -> bytes:
        """Return the committed row."""
        state = await _state_of(ctx)
        return encoded(CommittedRow(row=state.row, existed=state.incarnation > 0))

    async def journal(self, ctx: ObjectSharedContext, body: bytes) -> bytes:
        """Return journal rows."""
        wanted, state = decoded(JournalRows, body), await _state_of(ctx)
        row = row_of(state)
        length = 0 if row is None else row.journal_length
        places = range(wanted.first, min(wanted.first + wanted.limit, length))
        # Rows are written before the state that names them, so all of these exist. One that a cut removes meanwhile is
        # left out.
        found = [await ctx.get(journal_key(state.journal, place), _BYTES) for place in places]
        return encoded(attrs.evolve(wanted, bodies=tuple(each.decode() for each in found if each is not None)))

    async def interrupt(self, ctx: ObjectSharedContext, _: bytes) -> bytes:
        """Cancel the running invocation. The caller's ``terminate`` follows."""
        state = await _state_of(ctx)
        if state.run:
            ctx.cancel_invocation(state.run)
        return b""

    # ------------------------------------------------------------ decisions
    async def _decided(self, turn: Turn, state: MailboxState, request: Request) -> tuple[MailboxState, TurnAnswer]:
        """Decide a request, and wait for the runs that hold the mailbox. The caller writes the last state."""
        while True:
            pending = state.pending
            # Only for the invocation that began it. Another one finds a run whose invocation was killed, and decides on
            # the row.
            if pending is not None and is_waiting(state):
                state, answer = await self._ended(turn, state, pending)
                if pending.then == "answer":
                    return state, answer
                continue
            state, inputs = attrs.evolve(state, pending=None), self.worker.inputs(running_in(turn.job, state))
            loaded = loaded_of(state, request.idempotency_key, inputs.now_ms)
            then: Literal["answer", "decide"] = "answer"
            try:
                step = decide(turn.job, turn.address, loaded, request, inputs, self.worker.services)
                # The row has the claim of a run that is not in progress. Its recovery is decided first, then this
                # request again.
                if isinstance(step, RecoverFirst):
                    then = "decide"
                    step = decide(turn.job, turn.address, loaded, RECOVER, inputs, self.worker.services)
            except InvalidInput as problem:
                return state, TurnAnswer.refused(turn.job, problem)
            match step:
                case Commit():
                    state = self._apply(turn, state, step.transition)
                    if then == "answer":
                        return state, TurnAnswer.of(turn.job, step.result)
                case Mark():
                    state, answered = await self._begun(
                        turn, self._apply(turn, state, step.transition), step, request, then
                    )
                    if answered is not None and then == "answer":
                        return state, answered
                case _:
                    assert isinstance(step, Defer | RecoverFirst)  # noqa: S101 - the last cases
                    return state, TurnAnswer(form="deferred")

    async def _begun(
        self, turn: Turn, state: MailboxState, mark: Mark, request: Request, then: Literal["answer", "decide"]
    ) -> tuple[MailboxState, TurnAnswer | None]:
        """Begin a run whose claim is in the state. Return the answer if the mailbox does not wait for it."""
        row = row_of(state)
        assert row is not None  # noqa: S101 - it has the claim
        claim = mark.claim
        pending = PendingRun(
            invocation=state.writer,
            run_key=run_key(claim, row),
            run_id=claim.run_id,
            event=claim.cause == "event",
            then=then,
        )
        if not is_beside(turn.job, claim):
            # Durable before the run is called: the repeated invocation continues with this run, and decides nothing
            # again.
            state = await self._write(turn.ctx, attrs.evolve(state, pending=pending), None)
            return state, None
        order = encoded(order_of(state, pending, beside=True))
        state = queued(attrs.evolve(state, stopped=""), RUN, "run", str(turn.address), order, key=pending.run_key)
        early = early_answer(mark, request)
        answer = TurnAnswer(form="run") if early is None else TurnAnswer.of(turn.job, early)
        return state, answer

    async def _ended(self, turn: Turn, state: MailboxState, pending: PendingRun) -> tuple[MailboxState, TurnAnswer]:
        """Wait for a run that holds the mailbox, and write its end."""
        service = EVENT_RUN if pending.event else RUN
        order = encoded(order_of(state, pending, beside=False))
        call = turn.ctx.generic_call(service, "run", order, key=str(turn.address), idempotency_key=pending.run_key)
        try:
            # With the invocation's id in the state, `interrupt` can cancel it while this handler waits.
            state = await self._write(turn.ctx, attrs.evolve(state, run=await call.invocation_id(), sends=()), None)
            end = decoded(RunEnd, await call)
        # The run object's invocation was killed by an operator. How far it came is unknown, so the claim stays, and is
        # recovered.
        except TerminalError:
            lost = OutcomeUnknown("the invocation of the run was killed; the run is delivered again")
            end = RunEnd(form="stopped", answer=TurnAnswer.refused(turn.job, lost))
        state = attrs.evolve(state, run="", pending=None, sends=())
        for text in end.transitions:
            state = self._apply(turn, state, decode_transition(text))
        if end.form == "stopped":
            state = self._recovering(turn, state, pending.run_id)
        return state, end.answer

    def _recovering(self, turn: Turn, state: MailboxState, run_id: str) -> MailboxState:
        # A moment later: the `terminate` that cancelled the run is to be decided before its next delivery.
        body, at_ms = encoded(RecoverOrder(run_id=run_id)), self.worker.runtime.now_ms() + STOPPED_MS
        return queued(state, MAILBOX, "recover", str(turn.address), body, at_ms=at_ms)

    # ------------------------------------------------------------ the state
    def _turn(self, ctx: ObjectContext) -> Turn:
        address = Address.parse(ctx.key())
        return Turn(ctx, self.worker.job(address), address)

    async def _opened(self, ctx: ObjectContext) -> tuple[MailboxState, bytes | None]:
        """Return the state for this invocation, or the answer that it wrote already. Repeat its sends."""
        state, me = await _state_of(ctx), ctx.request().id
        # Another invocation wrote last, so this one has not begun: its answer, sends and deletions are none of ours.
        if state.writer != me:
            return attrs.evolve(state, writer=me, answer=None, sends=(), cleared=()), None
        # The same sends with the same keys: Restate drops those that it has accepted before.
        state = await self._send(ctx, state)
        answer = None if state.answer is None else state.answer.encode()
        return attrs.evolve(state, sends=(), cleared=()), answer

    def _apply(self, turn: Turn, state: MailboxState, transition: Transition) -> MailboxState:
        if transition.is_empty:
            return state
        state, rows = applied(state, transition, self.worker.runtime.now_ms())
        # Before the state: several keys are not written atomically, and a row that no state names does not exist.
        for key, body in rows:
            turn.ctx.set(key, body.encode(), _BYTES)
        return state

    async def _close(
        self, ctx: ObjectContext, before: MailboxState | None, state: MailboxState, answer: bytes
    ) -> bytes:
        """Write an invocation's last state, unless it changed nothing: its repeat then decides the same."""
        if before is None or state != before:
            state = await self._write(ctx, state, answer)
            assert state.answer is not None  # noqa: S101 - it was written
            return state.answer.encode()
        return answer

    async def _write(self, ctx: ObjectContext, state: MailboxState, answer: bytes | None) -> MailboxState:
        state = attrs.evolve(state, answer=None if answer is None else answer.decode())
        # Before the sends, whose keys are numbered by it: a repeat that did not find this state would decide again,
        # under the same keys.
        ctx.set(STATE, encoded(state), _BYTES)
        state = await self._send(ctx, state)
        return attrs.evolve(state, sends=(), cleared=())

    async def _send(self, ctx: ObjectContext, state: MailboxState) -> MailboxState:
        """Make the written state's sends. A run's invocation beside the mailbox becomes a part of the state."""
        run: str | None = None
        # After the state that no longer names them.
        for cleared in state.cleared:
            for place in range(cleared.rows):
                ctx.clear(journal_key(cleared.journal, place))
        for send in state.sends:
            delay_ms = 0 if send.at_ms is None else max(0, send.at_ms - self.worker.runtime.now_ms())
            handle = ctx.generic_send(
                send.service,
                send.handler,
                send.body.encode(),
                key=send.target,
                send_delay=timedelta(milliseconds=delay_ms) if delay_ms else None,
                idempotency_key=send.key,
            )
            # Only now does the invocation have an id: a caller attaches to it, and `interrupt` cancels it.
            if send.service == RUN:
                run = await handle.invocation_id()
        if run is None or run == state.run:
            return state
        answer = state.answer
        if answer and decoded(TurnAnswer, answer.encode()).form == "run":
            answer = encoded(TurnAnswer(form="run", body=run)).decode()
        state = attrs.evolve(state, run=run, answer=answer)
        ctx.set(STATE, encoded(state), _BYTES)
        return state


def _job_of(key: str) -> tuple[str, str]:
    kind, _, rest = key.partition(":")
    return kind, rest.partition(":")[0]


async def _state_of(ctx: ObjectContext | ObjectSharedContext) -> MailboxState:
    data = await ctx.get(STATE, _BYTES)
    return MailboxState() if data is None else decoded(MailboxState, bytes(data))
