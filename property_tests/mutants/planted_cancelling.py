"""Bugs in the cancellation and the compensation of workflows."""

from mutant import Mutant

INTERRUPTS = "test_a_cancellation_that_interrupts_stops_the_steps_and_undoes_the_earlier_ones"
TESTS = "tests/workflow/test_workflow_cancellation.py"

UNDONE = "workflow/test_undone.py::test_an_ended_saga_has_all_of_its_effects_or_none"

SIGNALS = "tests/workflow/test_workflow_signals.py"

PARKED = "tests/workflow/test_workflow_parked_children.py"

MUTANTS = (
    Mutant(
        "a cancellation waits for a step that is to be stopped",
        "stops_when_cancelled",
        'asked.instruction.when_cancelled == "interrupt"',
        'asked.instruction.when_cancelled == "never"',
        f"{TESTS}::test_a_cancellation_stops_a_step_that_says_so_and_undoes_the_others[cancel-memory://]",
    ),
    Mutant(
        "a child that is parked does not tell its parent",
        "parking_messages",
        "return (report_parking(instance.address, header.parent, event, inputs.now_ms),)",
        "return ()",
        f"{PARKED}::test_a_parent_shows_a_child_that_is_parked_and_waits_for_its_resumption[memory://]",
    ),
    Mutant(
        "a child that died three times does not tell its parent",
        "recorded",
        "step = _with_parking(job, step, inputs) if step.transition.events else step",
        "step = step",
        f"{PARKED}::test_a_parent_shows_a_child_whose_step_killed_three_processes[memory://]",
    ),
    Mutant(
        "the end of a parked child leaves it among the parked ones",
        "_arrived",
        "        header = without_parked(header, end.call)\n",
        "",
        f"{PARKED}::test_the_end_of_a_parked_child_is_no_longer_shown_by_its_parent[memory://]",
    ),
    Mutant(
        "a signal to an absent workflow is dropped without a word",
        "_arrived",
        "            return refuse(address, SignalRefused(str(address), command.name, found))",
        "            pass",
        f"{SIGNALS}::test_a_message_with_a_signal_that_nothing_receives_is_rejected_on_the_senders_history",
    ),
    Mutant(
        "a signal that is never received is not reported",
        "_ended",
        "if header.waiting > 0:",
        "if header.waiting > 99:",
        f"{SIGNALS}::test_signals_that_the_program_never_received_are_reported_at_its_end[done]",
    ),
    Mutant(
        "a workflow that starts over loses a request to cancel it",
        "_started_over",
        "cancel=None if header.cancel is None else attrs.evolve(header.cancel, delivered=False),",
        "",
        f"{TESTS}::test_a_workflow_that_starts_over_keeps_a_request_to_cancel_it[nothing]",
    ),
    Mutant(
        "the steps of a parent show the secrets of a child's error",
        "_child",
        "if error is not None and row.secret:",
        "if error is None and row.secret:",
        "tests/workflow/test_workflow_secrets.py::test_the_secrets_of_a_childs_error_are_not_shown_in_the_steps_of_its_parent",
    ),
    Mutant(
        "a wait that is over looks like one that saw the status",
        "Client._until",
        "return Failure(WaitOver(str(address), wanted, status))",
        "return Success(Reached(status))",
        "tests/behaviour/test_waits.py::test_a_wait_ends_with_its_time_and_tells_the_status",
    ),
    Mutant(
        "a step that loses a race is stopped although it cannot be undone",
        "Tree._drop",
        "if any(one.if_unknown is None for one in uninterrupted_in(branch)):",
        "if branch is None:",
        f"{TESTS}::test_a_step_that_loses_is_undone_because_its_effect_may_have_happened[raced]",
    ),
    Mutant(
        "a stopped step is not compensated",
        "Tree.note_unknown",
        "            if around.if_unknown is not None:",
        "            if around.if_unknown is None:",
        f"{TESTS}::test_a_step_that_loses_is_undone_because_its_effect_may_have_happened[stopped]",
    ),
    Mutant(
        "a cancellation gets lost if all parallel steps end",
        "Tree.ended",
        "            _halt_later(fork.parent, branch.halt)",
        "            pass",
        f"{TESTS}::test_a_cancellation_during_parallel_steps_halts_the_program_after_them",
    ),
    Mutant(
        "a pause forgets the steps that a crash interrupted",
        "Replay.calls",
        "return [each for each in due if each.path in self.perhaps_begun] if self.suspended else due",
        "return [] if self.suspended else due",
        UNDONE,
    ),
    Mutant(
        "a step that a crash interrupted is not performed again before a cancellation",
        "Replay.go_live",
        "if self.deliveries > 1:",
        "if self.deliveries > 99:",
        f"{TESTS}::test_a_step_whose_effect_no_commit_holds_is_undone_when_it_was_cancelled_before_a_crash",
    ),
    Mutant(
        "a request to a run that crashed forgets that it was begun",
        "_wake",
        "crashed = pending is not None and pending.deliveries > 0",
        "crashed = False",
        f"{TESTS}::test_a_cancellation_of_a_workflow_whose_step_killed_three_processes_undoes_that_step",
    ),
    Mutant(
        "a cancellation stops the compensations in progress",
        "finalizing_around",
        "if is_finalizing(around.loop):",
        "if around is None:",
        f"{TESTS}::test_a_cancellation_during_compensations_does_not_stop_them",
    ),
    Mutant(
        "a workflow that its own code parked is not compensated",
        "at_defect",
        "elif row is None and request is not None and not replay.cancelled:",
        "elif row is None and request is None:",
        f"{TESTS}::test_a_workflow_that_its_own_code_parked_is_compensated_when_it_is_cancelled[None]",
    ),
    Mutant(
        "a full journal has no rows for the compensations",
        "Replay.limit",
        "return self.max_steps if self.request is None else 2 * self.max_steps + 1",
        "return self.max_steps if self.request is None else self.max_steps + 1",
        f"{TESTS}::test_a_workflow_with_a_full_journal_is_compensated_when_it_is_cancelled",
    ),
    Mutant(
        "a cancellation that interrupts waits for the step in progress",
        "InstanceCache.on_answer",
        "cell.interrupt_by([entry for entry, _ in pending.steps], instance)",
        "pass",
        f"{TESTS}::{INTERRUPTS}[then_slow-no]",
    ),
    Mutant(
        "a second request does not interrupt",
        "_cancel",
        "if before is not None and (before.interrupt or not command.interrupt):",
        "if before is not None:",
        f"{TESTS}::{INTERRUPTS}[then_slow-first]",
    ),
    Mutant(
        "a cancellation stops a step that must be undone",
        "can_stop",
        "is_needed = asked.ending or any(one.if_unknown is None for one in around)",
        "is_needed = asked.ending",
        f"{TESTS}::test_a_cancellation_that_interrupts_lets_a_step_end_that_must_be_undone",
    ),
)
