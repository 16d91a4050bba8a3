"""The typed handle and sender of a workflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar, cast, overload

import attrs
from returns.result import Failure, Result, Success

from perdure.codecs import Codec
from perdure.jobs.call import Call, decoded, followed, mapped, refused, result_of
from perdure.jobs.definition import CallError, Dispatch, PostCommand
from perdure.jobs.handle import JobHandle
from perdure.jobs.request import WaitFor, check_timeout
from perdure.kinds.workflow.commands import (
    AskQuery,
    CancelWorkflow,
    Forked,
    ForkInput,
    ForkWorkflow,
    IfEnded,
    PromiseSettled,
    QueryAnswer,
    ReadOutcome,
    SendSignal,
    SendUpdate,
    SettlePromise,
    Signalled,
    SignalWithStart,
    StartingSignal,
    StartWorkflow,
    UnreceivedSignals,
    UpdateSent,
    WorkflowOutcome,
    input_of_cancel,
    start_of,
    timed_start,
)
from perdure.kinds.workflow.instructions import (
    Broken,
    Fulfilled,
    Promise,
    Published,
    Settlement,
    Signal,
    StateQuery,
    Update,
)
from perdure.programs import Program
from perdure.values.address import Address, Job, check_id
from perdure.values.answer import DeadlinePassed, Done, RunAnswer, WasCancelled
from perdure.values.attributes import Attribute, Condition
from perdure.values.errors import (
    DefinitionError,
    InvalidArgument,
    InvalidInput,
    NotPublished,
    Rejected,
    RequestError,
    Undecodable,
    UpdateRefused,
)
from perdure.values.excerpt import REFERENCE
from perdure.values.listings import ForkedMany, ListedStatus, StepRecord
from perdure.values.outcome import Failed, Started
from perdure.values.status import Defect
from perdure.values.status_wait import (
    NoOutcome,
    NotReached,
    PublishedValue,
    UpdateReply,
    UpdateUnanswered,
    WaitCondition,
    WaitOver,
)
from perdure.values.times import Duration

S = TypeVar("S")
A = TypeVar("A")
B = TypeVar("B")
F = TypeVar("F")
E = TypeVar("E")
V = TypeVar("V")
S_contra = TypeVar("S_contra", contravariant=True)


@attrs.frozen(repr=False)
class WorkflowHandle(JobHandle[S, E], Generic[S, A, E]):
    """A workflow's calls."""

    def start(
        self,
        id_: str,
        state: S,
        /,
        *,
        after: Duration | None = None,
        at: datetime | None = None,
        within: Duration | None = None,
        wait_for: WaitFor = "start",
        idempotency_key: str | None = None,
    ) -> Call[Started[E | Defect], CallError]:
        """Start a workflow. An existing one is unchanged, also while only its outcome is kept.

        Args:
            id_: the instance.
            state: the state that it starts with. Anything of another type fails with ``InvalidInput``.
            after: its program begins this long from now. Signals that arrive earlier wait in the inbox.
            at: its program begins at this aware instant. Instead of ``after``.
            within: the deadline, counted from the program's beginning. A workflow that has not ended then is cancelled:
                its finalizers and compensations run, and the outcome is `DeadlinePassed`. If it is paused or parked
                then, it is cancelled when it is resumed.
            wait_for: ``start``: return when it is stored. ``completion``: return when it first waits, or ends. One that
                begins later returns when it is stored.
            idempotency_key: a repeat with this key changes nothing and returns the first result.
        """
        answer: Call[RunAnswer, CallError]
        if after is None and at is None and within is None:
            answer = self._send(id_, StartWorkflow(state), "start", state, key=idempotency_key, wait_for=wait_for)
            return mapped(answer, self._started)
        try:
            given = timed_start(state, after, at, within)
            command = start_of(given)
        except DefinitionError as wrong:
            return refused(InvalidArgument(wrong.what, wrong.got, wrong.expected), self._name_of("start"))
        except InvalidInput as wrong:
            return refused(wrong, self._name_of("start"))
        answer = self._send(id_, command, "start_timed", given, key=idempotency_key, wait_for=wait_for)
        return mapped(answer, self._started)

    def start_and_wait(
        self,
        id_: str,
        state: S,
        /,
        *,
        timeout: Duration = "1 minute",
        after: Duration | None = None,
        at: datetime | None = None,
        within: Duration | None = None,
        idempotency_key: str | None = None,
    ) -> Call[Done[A] | Failed[E | Defect] | WasCancelled, CallError | WaitOver | NoOutcome]:
        """Start a workflow, and wait for its outcome.

        An existing one is unchanged, and awaited. So a wait that is over, or whose engine stopped, loses nothing: the
        workflow continues, and a repeat of this call returns its outcome.

        Args:
            id_: the instance.
            state: the state that it starts with, if it does not exist.
            timeout: how long to wait. ``"0 ms"`` to answer immediately.
            after: as for `start`.
            at: as for `start`.
            within: as for `start`.
            idempotency_key: as for `start`. Needed if the definition keeps outcomes for less than 10 minutes: a late
                repeat would start the workflow again.

        Returns:
            The outcome. It fails with `WaitOver` when the time is over, and with `NoOutcome` if the workflow was
            terminated, or its outcome is no longer kept.
        """
        start = partial(self.start, id_, state, after=after, at=at, within=within, idempotency_key=idempotency_key)
        return self._and_outcome("start", id_, start, self.outcome, timeout, idempotency_key)

    def fork(
        self,
        id_: str,
        source: str,
        /,
        *,
        step: str | None = None,
        signals: UnreceivedSignals = "keep",
        accept_undone: bool = False,
        idempotency_key: str | None = None,
    ) -> Call[Forked, CallError]:
        """Begin a workflow with another one's steps up to a step. Exactly those from that one on are performed again.

        The other workflow may run, be parked, have ended or been cancelled, and stays as it is. An existing workflow
        with the new id is unchanged.

        Args:
            id_: the new workflow.
            source: the id of the workflow to fork.
            step: the path of the first step that is performed again, as `steps` lists it, or its name: then the first
                step of that name. None: all steps that have ended are kept, and a cancelled workflow continues where it
                was cancelled.
            signals: whether the signals and updates that the kept steps have not received wait in the new inbox.
            accept_undone: fork although steps that are kept have been undone by compensations or finalizers.
            idempotency_key: a repeat with this key changes nothing and returns the first result.

        Returns:
            The result. It fails with `ForkRefused` if there is no such workflow or step, or if steps were undone.
        """
        wanted = ForkInput(source=source, step=step, signals=signals, accept_undone=accept_undone)
        return self._send(id_, ForkWorkflow(wanted), "fork", wanted, key=idempotency_key)

    def fork_many(
        self,
        *,
        step: str | None = None,
        suffix: str = "-fork",
        status: ListedStatus | None = None,
        id_prefix: str = "",
        where: Sequence[Condition | Attribute[Any, bool] | str] = (),
        signals: UnreceivedSignals = "keep",
        accept_undone: bool = False,
        dry_run: bool = False,
    ) -> Call[ForkedMany, CallError]:
        """Fork every workflow that matches a filter, as `fork` does, a hundred in each request.

        Each new id is the old one with the suffix. An id that ends with the suffix is a fork, and is not forked again.
        So you can repeat the call after an interruption: forks that exist stay as they are.

        Args:
            step: as for `fork`.
            suffix: 1 to 100 characters at the end of each new id.
            status: only workflows with this status.
            id_prefix: only ids that begin with this text.
            where: only workflows whose attributes meet all these conditions. See `Client.list`.
            signals: as for `fork`.
            accept_undone: as for `fork`.
            dry_run: only count the workflows that match.

        Returns:
            The counts. Workflows that could not be forked are counted, and the first hundred are named.
        """
        given = {
            "step": step,
            "suffix": suffix,
            "status": status,
            "id_prefix": id_prefix,
            "where": where,
            "signals": signals,
            "accept_undone": accept_undone,
            "dry_run": dry_run,
        }
        return Call(partial(_fork_pages, self.dispatch, self._job, given), self._name_of("fork_many"))

    def steps(self, id_: str, /) -> Call[tuple[StepRecord, ...], CallError]:
        """Read a workflow's steps: those of its journal, ordered by ends, then those in progress."""
        return self._named(self.dispatch.steps(self.definition, id_), "steps")

    def signal(
        self, id_: str, signal: Signal[V], value: V, /, *, idempotency_key: str | None = None
    ) -> Call[Signalled, CallError]:
        """Send a signal. It is stored when this returns, and received when the program next waits for it.

        A workflow that is absent or has ended refuses it with `SignalRefused`. A program that ends without waiting for
        it leaves the event ``signals.unreceived``.

        Args:
            id_: the instance.
            signal: the signal's declaration.
            value: the signal's value. A value with another type fails with ``InvalidInput``.
            idempotency_key: a repeat with this key changes nothing and returns the first result.
        """
        if not isinstance(signal, Signal):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
            wrong = InvalidArgument("signal", signal, "a declared Signal, not its name")
            return refused(wrong, self._name_of("signal"))
        try:
            given = signal.sent(value)
        except InvalidArgument as wrong:
            return refused(wrong, self._name_of("signal"))
        action = f"signal.{signal.name}"
        return self._send(id_, SendSignal(signal.name, given), action, given, key=idempotency_key)

    def signal_with_start(
        self,
        id_: str,
        signal: Signal[V],
        value: V,
        state: S,
        /,
        *,
        if_ended: IfEnded = "refuse",
        idempotency_key: str | None = None,
    ) -> Call[Signalled, CallError]:
        """Send a signal, and start the workflow if it does not exist: both in one commit.

        Args:
            id_: the instance.
            signal: the signal's declaration.
            value: the signal's value.
            state: the state that an absent workflow starts with. A running one ignores it.
            if_ended: whether a workflow that has ended refuses the signal with `SignalRefused`, or the next workflow of
                its id starts with this state, this signal and an empty journal. The earlier outcome is then gone.
            idempotency_key: a repeat with this key changes nothing and returns the first result.

        Returns:
            The result, whose ``found`` is ``absent`` or ``ended`` if this call started the workflow.
        """
        if not isinstance(signal, Signal):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
            wrong = InvalidArgument("signal", signal, "a declared Signal, not its name")
            return refused(wrong, self._name_of("signal_with_start"))
        try:
            given = signal.sent(value)
        except InvalidArgument as wrong:
            return refused(wrong, self._name_of("signal_with_start"))
        start: StartingSignal[S, Any] = StartingSignal(state=state, value=given, if_ended=if_ended)
        action = f"signal_with_start.{signal.name}"
        return self._send(id_, SignalWithStart(signal.name, start), action, start, key=idempotency_key)

    def cancel(
        self, id_: str, /, reason: str = "cancelled", *, interrupt: bool = False, idempotency_key: str | None = None
    ) -> Call[Signalled, CallError]:
        """Cancel a workflow: its program is halted where it waits, and its finalizers and compensations run as steps.

        A step in progress ends first, so that its value is known. With `interrupt` it is stopped. A second request
        changes nothing, but with `interrupt` it stops the steps that the first one waits for.

        Args:
            id_: the instance.
            reason: part of the outcome.
            interrupt: stop the steps in progress. Their effects may have happened, and nothing undoes them. Those
                inside `Undo.after` without `unknown`, the first program of a `bracket`, and compensations end first.
            idempotency_key: a repeat with this key changes nothing and returns the first result.
        """
        try:
            given = input_of_cancel(reason, interrupt)
        except InvalidArgument as wrong:
            return refused(wrong, self._name_of("cancel"))
        return self._send(id_, CancelWorkflow(reason, interrupt), "cancel", given, key=idempotency_key)

    def update(
        self, id_: str, update: Update[V, B, F], value: V, /, *, idempotency_key: str, timeout: Duration = "1 minute"
    ) -> Call[B, CallError | Rejected[F] | WaitOver | UpdateUnanswered]:
        """Send a request to the workflow's program, and wait for its reply.

        The update is stored when it is accepted, and handled when the program next waits for it. The reply is stored
        with the program's next commit. A repeat with the same key sends nothing, waits on, and returns the same reply,
        also after a lost connection or a restart.

        Args:
            id_: the instance.
            update: the update's declaration.
            value: the request. A value with another type fails with ``InvalidInput``.
            idempotency_key: the key of the request.
            timeout: how long to wait for the reply. ``"0 ms"`` to answer immediately.

        Returns:
            The reply. It fails with `Rejected`, whose ``error`` is the handler's typed error, with `WaitOver` when the
            time is over, and with `UpdateUnanswered` if the workflow is absent, or ended without a reply.
        """
        return Call(partial(self._updated, id_, update, value, idempotency_key, timeout), self._name_of("update"))

    def send_update(
        self, id_: str, update: Update[V, Any, Any], value: V, /, *, idempotency_key: str | None = None
    ) -> Call[UpdateSent, CallError]:
        """Send a request to the workflow's program, without waiting for the reply.

        Args:
            id_: the instance.
            update: the update's declaration.
            value: the request.
            idempotency_key: a repeat with this key changes nothing and returns the first result.

        Returns:
            The result, whose ``ticket`` names the update for `JobByName.reply`.
        """
        if not isinstance(update, Update):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
            wrong = InvalidArgument("update", update, "a declared Update, not its name")
            return refused(wrong, self._name_of("update"))
        return self._send(id_, SendUpdate(update.name, value), f"update.{update.name}", value, key=idempotency_key)

    async def _updated(
        self, id_: str, update: Update[V, B, F], value: V, key: str, longest: Duration
    ) -> Result[B, Any]:
        try:
            timeout_ms = check_timeout(longest, of="update")
            if key is None:  # pyright: ignore[reportUnnecessaryComparison] - untyped callers
                raise InvalidArgument("idempotency_key of update", key, "a key: a repeat with it gets the same reply")  # noqa: TRY301 - as the checks
        except InvalidArgument as wrong:
            return Failure(wrong)
        sent: Result[UpdateSent, Any] = await result_of(self.send_update(id_, update, value, idempotency_key=key))
        if not isinstance(sent, Success):
            refused = sent.failure()
            return _rejected(update, refused) if isinstance(refused, UpdateRefused) else Failure(refused)
        taken = sent.unwrap()
        if not taken.accepted:
            return Failure(UpdateUnanswered(str(self.definition.address(id_)), update.name))
        return await self._replied(id_, update, taken.ticket, timeout_ms)

    async def _replied(self, id_: str, update: Update[Any, B, Any], ticket: str, timeout_ms: int) -> Result[B, Any]:
        address, wanted = self.definition.address(id_), WaitCondition((), (), ticket)
        waited = await result_of(self.dispatch.until(address, wanted, timeout_ms))
        if not isinstance(waited, Success):
            return Failure(waited.failure())
        over = waited.unwrap()
        if isinstance(over, NotReached):
            return Failure(WaitOver(str(address), wanted, over.status))
        read: Result[UpdateReply, Any] = await result_of(self.dispatch.reply_to(self.definition, id_, ticket))
        if not isinstance(read, Success):
            return Failure(read.failure())
        return _reply_of(update, address, read.unwrap())

    def complete(
        self, id_: str, promise: Promise[V, F], value: V, /, *, idempotency_key: str | None = None
    ) -> Call[Settlement[V, F], CallError]:
        """Complete a promise, unless it is settled: each promise has one outcome.

        Args:
            id_: the workflow that waits.
            promise: the promise's declaration.
            value: the value.
            idempotency_key: a repeat with this key returns the first result. Without one, a repeat changes nothing
                either, and its result says that the promise was settled before.

        Returns:
            The outcome of the promise: this one, or that of an earlier request. It fails with `SignalRefused` if the
            workflow is absent, or has ended without an outcome.
        """
        return self._settled("complete", id_, promise, Fulfilled(value), value, idempotency_key)

    def fail(
        self, id_: str, promise: Promise[V, F], error: F, /, *, idempotency_key: str | None = None
    ) -> Call[Settlement[V, F], CallError]:
        """Fail a promise with a typed error, unless it is settled. See `complete`.

        Args:
            id_: the workflow that waits.
            promise: the promise's declaration.
            error: the error.
            idempotency_key: a repeat with this key returns the first result.
        """
        return self._settled("fail", id_, promise, Broken(error), error, idempotency_key)

    def _settled(
        self,
        action: str,
        id_: str,
        promise: Promise[V, F],
        outcome: Fulfilled[V] | Broken[F],
        given: object,
        key: str | None,
    ) -> Call[Settlement[V, F], CallError]:
        if not isinstance(promise, Promise):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
            wrong = InvalidArgument("promise", promise, "a declared Promise, not its name")
            return refused(wrong, self._name_of(action))
        command = SettlePromise(promise.name, outcome)
        answer: Call[PromiseSettled, CallError] = self._send(id_, command, f"{action}.{promise.name}", given, key=key)

        def opened(sent: PromiseSettled) -> Settlement[V, F]:
            settled: Any = promise.outcomes.open(sent.settled.encode()).value
            return Settlement(accepted=sent.accepted, outcome=settled)

        return decoded(answer, opened, lambda: self.definition.address(id_))

    @overload
    def published(
        self, id_: str, published: Published[V], /, *, timeout: Duration = "1 minute"
    ) -> Call[V, CallError | WaitOver | NotPublished]: ...
    @overload
    def published(
        self, id_: str, published: Promise[V, F], /, *, timeout: Duration = "1 minute"
    ) -> Call[V, CallError | WaitOver | NotPublished | Rejected[F]]: ...
    def published(
        self, id_: str, published: Published[V] | Promise[V, Any], /, *, timeout: Duration = "1 minute"
    ) -> Call[V, Any]:
        """Wait until the workflow publishes a value, or its promise is settled.

        A value that was published before is returned immediately, as long as the outcome is kept.

        Args:
            id_: the instance.
            published: the declaration of the value or the promise.
            timeout: how long to wait. ``"0 ms"`` to answer immediately.

        Returns:
            The value. It fails with `WaitOver` when the time is over, with `NotPublished` if the workflow is absent, or
            ended without it, and with `Rejected`, whose ``error`` is that of a promise that failed.
        """
        return Call(partial(self._published, id_, published, timeout), self._name_of("published"))

    async def _published(
        self, id_: str, published: Published[V] | Promise[V, Any], longest: Duration
    ) -> Result[V, Any]:
        try:
            if not isinstance(published, Published | Promise):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
                raise InvalidArgument("published", published, "a declared Published or Promise, not its name")
            timeout_ms, address = check_timeout(longest, of="published"), self.definition.address(check_id(id_))
        except RequestError as wrong:
            return Failure(wrong)
        wanted = WaitCondition((), (), published=published.name)
        waited = await result_of(self.dispatch.until(address, wanted, timeout_ms))
        if not isinstance(waited, Success):
            return Failure(waited.failure())
        over = waited.unwrap()
        if isinstance(over, NotReached):
            return Failure(WaitOver(str(address), wanted, over.status))
        read = await result_of(self.dispatch.published_by(self.definition, id_, published.name))
        if not isinstance(read, Success):
            return Failure(read.failure())
        return _published_of(published, address, read.unwrap())

    def query(self, id_: str, query: StateQuery[S, V, B], value: V, /) -> Call[B | None, CallError]:
        """Ask a question about the committed state. Nothing is written, and no journal is read.

        Args:
            id_: the instance.
            query: the query's declaration.
            value: the question. A value with another type fails with ``InvalidInput``.

        Returns:
            The answer. None if there is no workflow. It fails with ``HookRaised`` if the query's function raises.
        """
        if not isinstance(query, StateQuery):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
            return refused(
                InvalidArgument("query", query, "a declared StateQuery, not its name"), self._name_of("query")
            )
        answer: Call[QueryAnswer, CallError] = self._send(
            id_, AskQuery(query.name, value), f"query.{query.name}", value
        )
        return decoded(answer, partial(self._answer_to, query.name), lambda: self.definition.address(id_))

    def _answer_to(self, name: str, answer: QueryAnswer) -> Any:
        codec: Codec[Any] = cast("Any", self.definition).queries[name][1]
        return None if answer.value is None else codec.open(answer.value.encode()).value

    def outcome(self, id_: str, /) -> Call[Done[A] | Failed[E | Defect] | WasCancelled | None, CallError]:
        """Read how a workflow ended. None while it has not, or when its outcome is no longer kept.

        To wait for the end, use `Client.until`.
        """
        first: Call[WorkflowOutcome, CallError] = self._send(id_, ReadOutcome(), "outcome")
        whole = followed(first, partial(self._whole_outcome, id_))
        return decoded(whole, self._outcome_of, lambda: self.definition.address(id_))

    async def _whole_outcome(self, id_: str, stored: WorkflowOutcome) -> Result[WorkflowOutcome, CallError]:
        """Read the parts of an outcome that is stored in parts."""
        if stored.value is None or stored.value[:1] != REFERENCE:
            return Success(stored)
        ticket = stored.value.removeprefix(REFERENCE)
        reply: Result[UpdateReply, CallError] = await result_of(self.dispatch.reply_to(self.definition, id_, ticket))
        # Without the value, it has been deleted meanwhile.
        return reply.map(lambda found: WorkflowOutcome(form="done" if found.value else "absent", value=found.value))

    def _outcome_of(self, stored: WorkflowOutcome) -> Done[A] | Failed[E | Defect] | WasCancelled | None:
        match stored.form:
            case "done":
                return Done(value=self._results.open((stored.value or "null").encode()).value)
            case "failed":
                return Failed(self._error(stored.error))
            case "cancelled":
                return WasCancelled(reason=stored.reason or "")
            case "timed_out":
                return DeadlinePassed(reason=stored.reason or "")
            case "running" | "absent":
                return None

    @property
    def _results(self) -> Codec[A]:
        results: Codec[A] = cast("Any", self.definition).results
        return results

    def _started(self, answer: RunAnswer) -> Started[E | Defect]:
        outcome = self._outcome(answer.outcome)
        return Started(created=answer.created, status=answer.status, outcome=outcome)


def _rejected(update: Update[Any, Any, Any], refused: UpdateRefused) -> Result[Any, Any]:
    return _reply_of(update, Address.parse(refused.address), UpdateReply(form="failed", value=refused.data))


def _published_of(
    published: Published[V] | Promise[V, Any], address: Address, stored: PublishedValue
) -> Result[V, Any]:
    try:
        found: Result[V, Any] = published.answer_of(address, stored.form, stored.value or "null", attrgetter("value"))
        is_broken = isinstance(published, Promise) and stored.form == "published"
        return found.alt(Rejected) if is_broken else found
    except InvalidInput as problem:
        return Failure(Undecodable(str(address), problem.problems))


def _reply_of(update: Update[Any, B, Any], address: Address, stored: UpdateReply) -> Result[B, Any]:
    try:
        match stored.form:
            case "done":
                return Success(update.replies.open((stored.value or "null").encode()).value)
            case "failed" if update.errors is not None:
                return Failure(Rejected(update.errors.open((stored.value or "null").encode()).value))
            case "failed":
                return Failure(Undecodable(str(address), (f"update {update.name} declares no errors",)))
            case "waiting" | "unanswered":
                return Failure(UpdateUnanswered(str(address), update.name))
    except InvalidInput as problem:
        return Failure(Undecodable(str(address), problem.problems))


@attrs.frozen
class WorkflowSender(Generic[S_contra]):
    """The messages that other jobs can send to a workflow."""

    post: PostCommand

    def start(
        self,
        state: S_contra,
        /,
        *,
        after: Duration | None = None,
        at: datetime | None = None,
        within: Duration | None = None,
    ) -> Program[None]:
        """Start a workflow with this turn's commit. An existing one is unchanged.

        Args:
            state: the state that it starts with.
            after: its program begins this long from now.
            at: its program begins at this aware instant. Instead of ``after``.
            within: the deadline, counted from the program's beginning.

        Raises:
            DefinitionError: a duration is invalid.
        """
        if after is None and at is None and within is None:
            return self.post("start", state)
        return self.post("start_timed", timed_start(state, after, at, within))

    def signal(self, signal: Signal[V], value: V, /) -> Program[None]:
        """Send a signal with this turn's commit.

        If there is no workflow to receive it, this instance's history has a ``message.rejected``.

        Raises:
            InvalidArgument: the signal is sent by key, and has none.
        """
        return self.post(f"signal.{signal.name}", signal.sent(value))

    def signal_with_start(
        self, signal: Signal[V], value: V, state: S_contra, /, *, if_ended: IfEnded = "refuse"
    ) -> Program[None]:
        """Send a signal with this turn's commit. The target starts with this state if it does not exist.

        Raises:
            InvalidArgument: the signal is sent by key, and has none.
        """
        start: StartingSignal[Any, Any] = StartingSignal(state=state, value=signal.sent(value), if_ended=if_ended)
        return self.post(f"signal_with_start.{signal.name}", start)

    def complete(self, promise: Promise[V, Any], value: V, /) -> Program[None]:
        """Complete a promise with this turn's commit, unless it is settled. See `WorkflowHandle.complete`."""
        return self.post(f"complete.{promise.name}", value)

    def fail(self, promise: Promise[Any, F], error: F, /) -> Program[None]:
        """Fail a promise with this turn's commit, unless it is settled."""
        return self.post(f"fail.{promise.name}", error)

    def cancel(self, reason: str = "cancelled", /, *, interrupt: bool = False) -> Program[None]:
        """Cancel a workflow. Its finalizers and compensations run. With `interrupt`, its steps in progress are stopped.

        Raises:
            InvalidArgument: ``interrupt`` is not a bool.
        """
        return self.post("cancel", input_of_cancel(reason, interrupt))

    def terminate(self, reason: str = "terminated", /) -> Program[None]:
        """Terminate the instance: it is purged at once, and no finalizer runs."""
        return self.post("terminate", reason)


async def _fork_pages(dispatch: Dispatch, job: Job, given: Mapping[str, object]) -> Result[ForkedMany, CallError]:
    """Fork the workflows that match, a page after the other."""
    done, after = ForkedMany(), None
    while True:
        page = await result_of(dispatch.fork_many(job, {**given, "after": after, "limit": FORKS_OF_A_PAGE}))
        if not isinstance(page, Success):
            return Failure(page.failure())
        done = done.and_then(page.unwrap())
        after = done.after
        if after is None:
            return Success(done)


FORKS_OF_A_PAGE: Final = 100
