"""The fast path of events: those of one step of the event loop are decided together, the common case in one call."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

import attrs
from returns.result import Success

from perdure.engine.commits.turn_commits import Commits
from perdure.engine.mailbox.entry import Begun, MailboxEntry, Reading
from perdure.engine.mailbox.instance_cache import InstanceCache
from perdure.engine.mailbox.instance_cell import InstanceCell
from perdure.engine.observing.reporting import HookChecks, Reporting, run_inspected
from perdure.engine.runs.runner import RunEnded, Runner
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.fast_paths import begin_fast_event, with_key
from perdure.jobs.keys import condition_of
from perdure.jobs.request import Request
from perdure.jobs.step import HOOK, Commit, Execute, FastEvent
from perdure.programs import Exit
from perdure.programs.drivers import Suspended
from perdure.programs.inline import run_inline
from perdure.runtime.record import LogRecord, Runtime
from perdure.runtime.run_context import enter_run, leave_run
from perdure.stores.contract import Store
from perdure.values.instance import Instance
from perdure.values.limits import Limits
from perdure.values.turn_inputs import Decoded


@attrs.define
class PlainEvents:
    """Handles fast events.

    Attributes:
        runtime: the clock and the ids.
        store: provides the epoch of its ownership.
        limits: the engine's limits.
        services: the services of user programs.
        reporting: knows whether a sink reads events.
        run_ended: called with the end of every program.
        hook_checks: inspect a sample of the events; None without the debug mode.
    """

    runtime: Runtime
    store: Store
    limits: Limits
    services: Any  # the user's own record
    reporting: Reporting
    run_ended: RunEnded | None
    hook_checks: HookChecks | None
    _keeps_history: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._keeps_history = self.limits.keeps_history

    def handle(
        self, cell: InstanceCell, request: Request, instance: Instance | None, decoded: Decoded | None
    ) -> Commit | tuple[Execute, Exit[Any, Any] | Suspended[Any, Any]] | None:
        """Handle an event synchronously.

        Args:
            cell: the instance.
            request: the request.
            instance: its row.
            decoded: the decoded state of the row, if it is kept.

        Returns:
            The commit; or the run and how far its program went, if it has an effect or fails; or
            None if the request is not a fast event.

        Raises:
            BaseException: the hook raised before it returned a program.
        """
        plain = begin_fast_event(
            cell.job,
            cell.address,
            instance,
            request,
            decoded,
            now_ms=self.runtime.now_ms(),
            limits=self.limits,
            epoch=self.store.epoch,
            new_id=self.runtime.new_id,
        )
        if plain is None:
            return None
        event, program = plain
        checks = self.hook_checks
        is_inspected = checks is not None and checks.samples(cell.job, HOOK, request.command)
        around = enter_run((cell.address, event, HOOK))
        try:
            exit_ = (
                run_inspected(cell.job, event.run(program), self.services)
                if is_inspected
                else run_inline(program, self.services, event)
            )
        finally:
            leave_run(around)
        commit = self._handled(cell.job, event) if type(exit_) is Success and event.left is None else None
        if commit is None:
            return event.run(program), exit_
        if self.run_ended is not None and isinstance(exit_, Success):
            self.run_ended(event.run(program), exit_)
        if checks is not None and event.inspection is not None and isinstance(exit_, Success):
            checks.report(cell.job, event.run(program), exit_)
        if event.codec.always_kept or event.codec.may_be_kept(event.state):
            cell.drafted = Decoded(event.encoded or event.instance.state, event.state, event.opened)
        return commit

    def _handled(self, job: AnyDefinition, event: FastEvent) -> Commit | None:
        """Settle an event whose handler succeeded, at the instant of its end."""
        wants_events = self._keeps_history or bool(self.reporting.sinks.told)
        begun_ms, event.now_ms = event.now_ms, self.runtime.now_ms()
        commit = job.fast_event_handled(event, wants_events=wants_events)
        if commit is not None and event.request.idempotency_key is not None:
            commit = with_key(job, commit, event, condition_of(event.request))
        event.now_ms = begun_ms
        return commit


def plain_events(runner: Runner) -> PlainEvents | None:
    """Return the handler of fast events; None if each turn is traced."""
    if runner.tracing is not None:
        return None
    return PlainEvents(
        runner.runtime,
        runner.store,
        runner.limits,
        runner.services,
        runner.reporting,
        runner.run_ended,
        runner.hook_checks,
    )


@attrs.define(eq=False)
class EventBatch:
    """The events of instances in memory that arrived in this step of the event loop.

    The code of a turn and that of its caller do not fit into the innermost cache of a processor together: decided one
    after the other, the same calls take a fifth less time. The commits of the batch leave as one group, at once.

    Attributes:
        runtime: ends the step.
        commits: writes the transitions of the turns.
        rows: know whether rows in memory are mostly the stored ones.
        decide: decides the turn of an instance's event; None if there is nothing to conclude. It raises nothing.
        conclude: begins to commit a turn that is decided; it raises nothing.
    """

    runtime: Runtime
    commits: Commits
    rows: InstanceCache
    decide: Callable[[InstanceCell], tuple[MailboxEntry, Begun | Reading] | None]
    conclude: Callable[[InstanceCell, MailboxEntry, Begun | Reading], None]
    _has_groups: bool = attrs.field(init=False)
    _largest: int = attrs.field(init=False)
    _cells: list[InstanceCell] = attrs.Factory(list[InstanceCell])
    _context: Context = attrs.Factory(copy_context)  # of the engine: the batch is of no single caller

    def __attrs_post_init__(self) -> None:
        self._has_groups, self._largest = self.commits.has_groups, self.runtime.sizes.batch

    def take(self, cell: InstanceCell, entry: MailboxEntry) -> bool:
        """Take an event whose instance is in memory, to decide it at the end of this step; return whether it is one.

        A store that never waits gets each commit at once, so nothing is gained by a batch. Neither is where other
        engines write the same instances: their rows are read again, and each read would wait for the end of the step.
        """
        if type(entry.request.command) is not cell.job.fast_event or not self._has_groups:
            return False
        if (cell.loaded is None and cell.pending is None) or not self.rows.are_current:
            return False
        # Busy from now on: a request that arrives in the same step queues behind this one.
        cell.state, cell.undecided = "busy", entry
        self._cells.append(cell)
        if len(self._cells) == 1:
            self._decide_soon()
        return True

    def _decide_soon(self) -> None:
        try:
            self.runtime.at_step_end(self._end_step)
        except Exception as defect:  # noqa: BLE001 - of the engine: a batch that is never decided blocks its callers
            self.runtime.log(LogRecord("error", "internal error before a batch", {"error": repr(defect)}))
            self._end_step()

    def _end_step(self) -> None:
        # The rest in the next step: a batch without a bound would keep timers and sockets waiting.
        batch, self._cells = self._cells[: self._largest], self._cells[self._largest :]
        if self._cells:
            self._decide_soon()
        self._context.copy().run(self._decide, batch)  # a variable that a handler sets reaches no later batch

    def _decide(self, batch: list[InstanceCell]) -> None:
        self.commits.hold_back()
        # Decide all, then commit all: turn and commit code do not fit together into the innermost processor cache.
        try:
            decided = [self.decide(cell) for cell in batch]
            for cell, turn in zip(batch, decided, strict=True):
                if turn is not None:
                    self.conclude(cell, *turn)
        finally:
            self.commits.flush()
