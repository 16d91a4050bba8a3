"""Bugs in checkpoints and journals."""

from mutant import Mutant

CHECKPOINTS = "tests/behaviour/test_checkpoints.py"
STORE = "tests/stores/test_conformance.py::test_the_store_keeps"
VERIFY = "tests/cli/test_verify.py::test_each_defect_is_found_alone"
TOOLS = "tests/workflow/test_workflow_tools.py"
LARGE = "tests/workflow/test_large_outcomes.py"
INPUTS = "tests/workflow/test_large_inputs.py"
MEMORY = "tests/workflow/test_programs_in_memory.py"
KIT = "tests/workflow/test_workflow_journals.py"

MUTANTS = (
    Mutant(
        "parallel steps begin before the results of others are stored, and one commit holds all of them",
        "ParallelSteps.ended",
        "        if _COMMIT in self.running or replay.unsaved() or replay.needs_commit:\n",
        "        if _COMMIT in self.running or replay.needs_commit:\n",
        "tests/workflow/test_workflow_sizes.py::"
        "test_one_commit_holds_at_most_the_results_of_as_many_steps_as_run_at_once",
    ),
    Mutant(
        "a checkpoint does not wait for the event that is being handled",
        "_has_event",
        'return execute.instance.event_claim is not None and execute.claim.cause != "event"',
        "return False",
        f"{CHECKPOINTS}::test_a_checkpoint_waits_for_the_event_that_is_being_handled[memory]",
    ),
    Mutant(
        "a run continues after a checkpoint that was not stored",
        "Checkpoints._begun_at_once",
        "                self._over = RunLost(stored.failure())\n",
        "                pass\n",
        f"{CHECKPOINTS}::test_a_run_whose_checkpoint_is_not_stored_ends_and_is_delivered_again",
    ),
    Mutant(
        "a checkpoint gives up at its first conflict",
        "MAX_CONFLICTS",
        "MAX_CONFLICTS = 20",
        "MAX_CONFLICTS = 0",
        f"{CHECKPOINTS}::test_a_checkpoint_that_meets_a_conflict_is_decided_again",
    ),
    Mutant(
        "checkpoints of branches do not wait for their turn",
        "Checkpoints.save",
        '        while self._state == "saving":\n            await self.settled()\n        if self._over',
        "        if self._over",
        f"{CHECKPOINTS}::test_steps_that_end_together_travel_together",
    ),
    Mutant(
        "a journal that cannot be read now is a defect of the program",
        "Checkpoints.read",
        "raise rows.failure() if isinstance(rows.failure(), StoreCorrupt) else RunLost(rows.failure())",
        "raise rows.failure()",
        f"{CHECKPOINTS}::test_a_journal_that_cannot_be_read_ends_the_run_for_now",
    ),
    Mutant(
        "a checkpoint does not forget the deaths before it",
        "checkpointed",
        "commit.transition if is_counted else _without_deaths(commit.transition, write, claim)",
        "commit.transition",
        f"{CHECKPOINTS}::test_a_checkpoint_is_progress_so_that_the_deaths_before_it_are_forgotten",
    ),
    Mutant(
        "a checkpoint may end the claim of its run",
        "checkpointed",
        "    if not isinstance(write, Put) or claim is None:\n        raise NotACheckpoint(commit.transition)\n",
        "    if not isinstance(write, Put) or claim is None:\n        return commit\n",
        f"{CHECKPOINTS}::test_a_checkpoint_of_a_broken_kind_is_a_defect_of_the_run",
    ),
    Mutant(
        "a checkpoint does not restart the time limit",
        "LazyClaim._checkpoint",
        "                    self.limit.restart()\n",
        "                    pass\n",
        f"{CHECKPOINTS}::test_the_time_limit_is_that_of_the_run_or_of_a_step",
    ),
    Mutant(
        "a store without journals serves jobs that have them",
        "_check_capabilities",
        "if job.keeps_journal and store.journal is None:",
        "if False:",
        f"{CHECKPOINTS}::test_a_store_that_keeps_no_journals_serves_no_job_that_has_them",
    ),
    Mutant(
        "a cut keeps the earlier rows",
        "append_journal",
        'if journal.earlier == "cut":',
        "if False:",
        f"{STORE}[a_cut_begins_the_journal_again-SqliteHarness]",
    ),
    Mutant(
        "a purge leaves the journal in the file",
        "apply",
        "        delete_journal(cursor, change.write.values[0])\n",
        "        pass\n",
        f"{STORE}[a_purge_deletes_the_journal-SqliteHarness]",
    ),
    Mutant(
        "a missing row is read over",
        "journal",
        "        if row[0] != expected:\n",
        "        if False:\n",
        "tests/stores/test_sqlite_journals.py::test_a_missing_row_is_reported_and_not_read_over",
    ),
    Mutant(
        "an encrypted row is not bound to its place",
        "RecordCipher.journal",
        'unseal(row, address, "journal", str(place)) for place, row',
        'unseal(row, address, "journal", "0") for place, row',
        "tests/stores/test_sqlite_journals.py::test_rows_are_encrypted_for_their_place",
    ),
    Mutant(
        "verify finds no rows without an instance",
        "_JOURNALS",
        "\n  UNION SELECT incarnation FROM perdure.journal) AS known",
        ") AS known",
        VERIFY,
    ),
    Mutant(
        "check does not replay journals",
        "RowCheck._check_journal",
        "rows = None if not job.keeps_journal or self.journal is None else self.journal(instance)",
        "rows = None",
        f"{TOOLS}::test_check_names_the_workflows_that_would_diverge_and_why",
    ),
    Mutant(
        "other code runs a diverged workflow before it finds that it cannot follow it",
        "TakingUp._try",
        "problem = await self._diverged(job, row)",
        "problem = None",
        "tests/workflow/test_workflow_deploys.py::test_other_code_that_cannot_follow_either_runs_nothing_and_joins_the_mark",
    ),
    Mutant(
        "a second replay is not compared",
        "nondeterminism",
        "zip_longest(first, second)",
        "zip_longest(first, first)",
        f"{KIT}::test_a_changing_value_is_reported_with_its_line",
    ),
    Mutant(
        "the laws of a job do not replay its journal",
        "JobLaws.__attrs_post_init__",
        "        self.world.watch(self._monitor.of_journals(self.job))\n",
        "",
        f"{KIT}::test_the_laws_of_a_job_replay_its_journal_after_each_step",
    ),
    Mutant(
        "a dry run forgets its checkpoints",
        "DryJournal.answer",
        "            self.execute = self.execute.recorded(write.instance)\n",
        "            pass\n",
        "tests/behaviour/test_dry_checkpoints.py::test_an_explanation_holds_the_commits_of_the_real_run",
    ),
    Mutant(
        "a program in memory is continued although another engine has run the workflow",
        "LeftProgram.arrived",
        'return others if all(row_of(body).form == "arrived" for body in others) else None',
        "return others",
        f"{MEMORY}::test_a_program_is_not_continued_if_the_store_holds_anything_else",
    ),
    Mutant(
        "a program in memory is continued although its last rows were not stored",
        "LeftProgram.arrived",
        "tuple(rows[own]) != self.bodies",
        "False",
        f"{MEMORY}::test_a_program_is_not_continued_if_the_store_holds_anything_else",
    ),
    Mutant(
        "no program stays in memory",
        "_keep",
        "if instance.journal_length and _may_be_kept(replay) and",
        "if False and",
        "tests/workflow/test_bounded_fan_out.py::test_a_child_costs_the_same_however_many_there_are[3]",
    ),
    Mutant(
        "programs in memory have no bound",
        "KeptPrograms.keep",
        "while self.rows > self.max_rows:",
        "while False:",
        f"{MEMORY}::test_programs_stay_within_the_bound_and_the_one_kept_longest_is_closed",
    ),
    Mutant(
        "parts of an outcome count as progress, and a process that dies of one pays for ever",
        "checkpointed",
        "is_counted = claim.recoveries == 0 or isinstance(value, NoProgress)",
        "is_counted = claim.recoveries == 0",
        f"{LARGE}::test_parts_are_no_progress_that_forgets_deaths",
    ),
    Mutant(
        "the last parts of an outcome are not stored",
        "store_parts",
        "    if new:\n",
        "    if False:\n",
        f"{LARGE}::test_an_outcome_larger_than_a_row_is_performed_once_and_replayed_whole",
    ),
    Mutant(
        "a replay forgets which parts the journal holds",
        "Replay.go_live",
        'dict.fromkeys(self.stored, "")',
        "{}",
        f"{LARGE}::test_the_same_content_is_stored_once",
    ),
    Mutant(
        "an outcome without one of its parts is delivered",
        "joined",
        "    if len(value) != wanted.length:\n",
        "    if False:\n",
        f"{LARGE}::test_a_journal_without_a_part_is_refused_and_no_step_is_performed_again",
    ),
    Mutant(
        "code that knows parts has the fingerprint of code that left them",
        "Workflow",
        "journal_format: ClassVar[int] = 3",
        "journal_format: ClassVar[int] = 2",
        f"{INPUTS}::test_an_earlier_engine_leaves_them_and_a_newer_one_takes_them_up",
    ),
    Mutant(
        "a workflow is stored without the parts of its state",
        "stored_state",
        "JournalChange(tuple(rows.values()))",
        "JournalChange(tuple(rows.values())[1:])",
        f"{INPUTS}::test_a_workflow_receives_its_large_state_whole_in_each_replay",
    ),
    Mutant(
        "a state in parts is not upgraded",
        "whole_state",
        "    if version == job.plan.state_version:\n",
        "    if True:\n",
        f"{INPUTS}::test_a_state_in_parts_is_upgraded_when_a_run_reads_it",
    ),
    Mutant(
        "code that cannot read an item in parts takes that for a failure of the work",
        "with_state",
        "draft.left = problem",
        "pass",
        f"{INPUTS}::test_code_that_cannot_read_a_state_in_parts_leaves_it",
    ),
    Mutant(
        "the secrets of a state in parts are not removed from errors",
        "Draft.take_up",
        "opened.value, secrets, opened.with_rest()",
        "opened.value, frozenset(), opened.with_rest()",
        f"{INPUTS}::test_the_secrets_of_a_state_in_parts_are_hidden",
    ),
)
