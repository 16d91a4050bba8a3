"""Bugs in workflows."""

from mutant import Mutant

STEPS = "tests/workflow/test_workflow_steps.py"
TIME = "tests/workflow/test_workflow_time.py"
SIGNALS = "tests/workflow/test_workflow_signals.py"
DEPLOYS = "tests/workflow/test_workflow_deploys.py"
CRASHES = "workflow/test_workflow_crashes.py::test_a_crash_anywhere_repeats_at_most_the_step_in_progress[turns]"

MUTANTS = (
    Mutant(
        "a restart moves a sleep",
        "kinds/workflow/replay.py",
        "self._timers.sleep(asked, instruction.delay_ms)",
        "self._timers.sleep(asked, instruction.delay_ms + self.now_ms - branch.clock_ms)",
        f"{TIME}::test_restarts_do_not_move_a_sleep",
    ),
    Mutant(
        "a time limit around a step counts from the wait for the step",
        "kinds/workflow/timers.py",
        'fork.anchor_ms = fork.parent.clock_ms if why == "waiting" else at_ms',
        "fork.anchor_ms = fork.parent.clock_ms",
        f"{TIME}::test_a_step_has_its_full_time_after_a_downtime",
    ),
    Mutant(
        "timers wait for the steps in progress",
        "kinds/workflow/crew.py",
        "wanted_ms = replay.wake_ms() if others and replay.exit is None and not self.stopping else None",
        "wanted_ms = None",
        f"{TIME}::test_timers_fire_while_steps_are_in_progress",
    ),
    Mutant(
        "a step that lost a race is not cancelled",
        "kinds/workflow/crew.py",
        "cancel = [path for path in replay.tree.dropping if path in self.running and path not in self.cancelling]",
        "cancel: list[str] = []",
        f"{TIME}::test_a_race_cancels_the_step_that_lost",
    ),
    Mutant(
        "the names of steps are not compared",
        "kinds/workflow/replay.py",
        "if row.name != asked.name:\n            raise diverged(self.tree, row, asked)",
        "if row is None:\n            raise diverged(self.tree, row, asked)",
        f"{DEPLOYS}::test_a_divergence_parks_and_the_right_code_continues[other_step]",
    ),
    Mutant(
        "rows after the end of the program are ignored",
        "kinds/workflow/replay.py",
        "            if not self._live:\n                row = self._next()",
        "            if not self._live and self.tree.exit is None:\n                row = self._next()",
        f"{DEPLOYS}::test_a_divergence_parks_and_the_right_code_continues[ends_early]",
    ),
    Mutant(
        "a patch holds for workflows that passed it",
        "kinds/workflow/replay.py",
        "return self._index.is_past(prefix, number, name)",
        "return False",
        f"{DEPLOYS}::test_a_patch_keeps_those_who_passed_it_on_the_old_way",
    ),
    Mutant(
        "the rows of a fork in progress do not count for a patch before it",
        "kinds/workflow/divergence.py",
        '            path = head.rpartition(".")[0]  # the path of the fork',
        "            return",
        f"{DEPLOYS}::test_a_patch_before_a_fork_in_progress_is_past",
    ),
    Mutant(
        "a signal is received twice",
        "kinds/workflow/settling.py",
        "inbox=tuple(signal for signal in header.inbox if signal.number not in progress.taken),",
        "inbox=header.inbox,",
        f"{SIGNALS}::test_signals_are_received_once_in_order_also_before_the_wait",
    ),
    Mutant(
        "a signal that arrives during a run waits for the next one",
        "kinds/workflow/replay.py",
        "return any(self._receiver(signal.name) is not None for signal in header.inbox)",
        "return False",
        f"{SIGNALS}::test_signals_are_received_once_in_order_also_before_the_wait",
    ),
    Mutant(
        "a signal does not wake the workflow",
        "kinds/workflow/handler.py",
        'changes |= {"alarm_ms": inputs.now_ms, "pending_retry": None}',
        "changes |= {}",
        f"{SIGNALS}::test_signals_are_received_once_in_order_also_before_the_wait",
    ),
    Mutant(
        "one signal more than the limit is stored",
        "kinds/workflow/handler.py",
        "if len(header.inbox) >= job.inbox:",
        "if len(header.inbox) > job.inbox:",
        f"{SIGNALS}::test_an_inbox_has_a_limit",
    ),
    Mutant(
        "an outcome is kept for ever",
        "kinds/workflow/settling.py",
        "alarm_ms=None if job.keep_ms is None else inputs.now_ms + job.keep_ms,",
        "alarm_ms=None,",
        f"{SIGNALS}::test_requests_find_an_absent_a_running_and_an_ended_workflow",
    ),
    Mutant(
        "a cancellation does not wait for the step in progress",
        "kinds/workflow/replay.py",
        "in_progress = [asked.path for asked in self.tree.steps.values() if asked.begun_ms is not None]\n"
        "        self.cancelled = True",
        "in_progress: list[str] = []\n        self.cancelled = True",
        f"{SIGNALS}::test_a_cancellation_waits_for_the_step_in_progress_so_that_it_can_be_undone",
    ),
    Mutant(
        "a cancelled workflow stays parked",
        "kinds/workflow/handler.py",
        "return _wake(instance.changed(suspension=None), header, inputs, (resumed,))",
        "return _wake(instance, header, inputs, (resumed,))",
        f"{SIGNALS}::test_a_parked_workflow_can_be_cancelled_in_good_order",
    ),
    Mutant(
        "steps are undone in the order of doing",
        "kinds/workflow/compensation.py",
        "self._stack[::-1]",
        "self._stack",
        f"{STEPS}::test_a_saga_undoes_the_last_step_first",
    ),
    Mutant(
        "a pause waits for the end of the run",
        "kinds/workflow/performing.py",
        "if news.suspension is not None:",
        "if news is None:",
        f"{SIGNALS}::test_a_pause_takes_effect_after_the_step_in_progress",
    ),
    Mutant(
        "children survive the cancellation of their parent",
        "kinds/workflow/replay.py",
        "            if left.started:\n",
        "            if not left.started:\n",
        f"{SIGNALS}::test_a_cancelled_parent_cancels_its_child_unless_it_says_otherwise",
    ),
    Mutant(
        "the parent of a terminated workflow waits for ever",
        "kinds/workflow/settling.py",
        "    return _parents(header, instance, _CHILD_CANCELLED, REASON.encode(reason).decode(), inputs)",
        "    return ()",
        f"{SIGNALS}::test_a_parent_is_notified_of_a_child_that_was_cancelled_or_terminated",
    ),
    Mutant(
        "a step begins before its predecessor is committed",
        "kinds/workflow/performing.py",
        "(replay.needs_commit or (calls and replay.unsaved()))",
        "replay.needs_commit",
        CRASHES,
    ),
    Mutant(
        "a failing step is retried at once",
        "kinds/workflow/settling.py",
        "        failing=progress.failing,\n        cancel=",
        "        failing=(),\n        cancel=",
        f"{STEPS}::test_a_defect_is_retried_at_its_step_then_parked_there_and_resume_continues",
    ),
    Mutant(
        "a resumed step has no new attempts",
        "kinds/workflow/handler.py",
        'attrs.evolve(step, at_ms=inputs.now_ms, uncounted=step.attempts, reason="")',
        "step",
        f"{STEPS}::test_a_defect_is_retried_at_its_step_then_parked_there_and_resume_continues",
    ),
    Mutant(
        "a journal has one row more than its limit",
        "kinds/workflow/replay.py",
        "return self.rows >= self.max_steps and",
        "return self.rows > self.max_steps and",
        f"{STEPS}::test_a_full_journal_parks_the_workflow_with_all_its_steps",
    ),
    Mutant(
        "a replay writes log records again",
        "kinds/workflow/replay.py",
        "if self.logged > self.header.logged:",
        "if self.logged > 0:",
        f"{STEPS}::test_a_log_record_is_written_once_however_often_the_program_is_replayed",
    ),
    Mutant(
        "a replay begins with the present state",
        "kinds/workflow/settling.py",
        "first=before.state if progress.state is not None and header.first is None else header.first,",
        "first=None,",
        f"{STEPS}::test_a_replay_begins_with_the_state_that_the_workflow_was_started_with",
    ),
    Mutant(
        "an outcome may be one byte larger than the limit",
        "kinds/workflow/outcome_codecs.py",
        "    if len(encoded_value) > most:",
        "    if len(encoded_value) > most + 1:",
        f"{STEPS}::test_an_outcome_has_at_most_payload_bytes",
    ),
)
