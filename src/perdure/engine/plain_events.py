"""Handles events that nothing is special about, as long as that remains so."""

from __future__ import annotations

from typing import Any

import attrs
from returns.result import Success

from perdure.engine.hook_checks import HookChecks, run_inspected
from perdure.engine.reporting import Reporting
from perdure.engine.resident import Resident
from perdure.engine.runner import RunEnded, Runner
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.fast_paths import begin_fast_event
from perdure.jobs.request import Request
from perdure.jobs.step import HOOK, Commit, Execute, FastEvent
from perdure.programs import Exit
from perdure.programs.drivers import Suspended
from perdure.programs.inline import run_inline
from perdure.runtime.record import Runtime
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
        self, resident: Resident, request: Request, instance: Instance | None, decoded: Decoded | None
    ) -> Commit | tuple[Execute, Exit[Any, Any] | Suspended[Any, Any]] | None:
        """Handle an event synchronously.

        Args:
            resident: the instance.
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
            resident.job,
            resident.address,
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
        is_inspected = checks is not None and checks.samples(resident.job, HOOK, request.command)
        around = enter_run((resident.address, event, HOOK))
        try:
            exit_ = (
                run_inspected(resident.job, event.run(program), self.services)
                if is_inspected
                else run_inline(program, self.services, event)
            )
        finally:
            leave_run(around)
        commit = self._handled(resident.job, event) if type(exit_) is Success and event.left is None else None
        if commit is None:
            return event.run(program), exit_
        if self.run_ended is not None and isinstance(exit_, Success):
            self.run_ended(event.run(program), exit_)
        if checks is not None and event.inspection is not None and isinstance(exit_, Success):
            checks.report(resident.job, event.run(program), exit_)
        if event.codec.always_kept or event.codec.may_be_kept(event.state):
            resident.drafted = Decoded(event.encoded or event.instance.state, event.state, event.opened)
        return commit

    def _handled(self, job: AnyDefinition, event: FastEvent) -> Commit | None:
        """Settle an event whose handler succeeded, at the instant of its end."""
        wanted = self._keeps_history or self.reporting.sinks.told
        begun_ms, event.now_ms = event.now_ms, self.runtime.now_ms()
        commit = job.fast_event_handled(event, "wanted" if wanted else "unread")
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
