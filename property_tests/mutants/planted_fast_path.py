"""Bugs in the fast paths of the engine, and in its guards against defects of its own."""

from mutant import Mutant

BRANCH = "engine/test_first_branch_laws.py::test_the_first_branch_decides_as_the_rest"
NARROW = "engine/test_first_branch_laws.py::test_a_decision_about_a_known_row_is_that_about_any_and_names_its_columns"
KEPT = "sharing/test_kept_rows.py::test_no_answer_rests_on_the_row_that_a_failed_turn_has_read_before"
STATES = "tests/stores/test_conformance_grouped.py::test_a_change_of_a_state_alone_is_written_as_any_other"
KEYS = "tests/behaviour/test_keys.py"
STRAIGHT = "program/test_straight.py"
ACCEPTED = "engine/test_accepted_run_laws.py::test_the_row_and_the_events_are_those_of_two_commits"
FOR_NOW = "tests/behaviour/test_accepted_for_now.py"
LINES = "engine/test_defects_of_the_engine.py::test_an_exception_at_a_line_of_the_dispatcher_blocks_no_instance"
DEFECTS = "engine/test_defects_of_the_engine.py::test_every_caller_is_answered_and_every_instance_continues"
ANSWERED = "tests/behaviour/test_every_caller_is_answered.py"
ALARM = "tests/behaviour/test_alarms.py::test_an_alarm_fires_although_an_event_changes_the_state_while_its_row_is_read"

MUTANTS = (
    # ------------------------------------------------------------ a change of a state alone
    Mutant(
        "a change of a state alone is written over any version",
        "NARROW_STATEMENTS",
        'WHERE incarnation = ? AND version = ?"',
        'WHERE incarnation = ? AND ? > 0"',
        f"{STATES}[b-SqliteHarness]",
    ),
    Mutant(
        "a state that meets a conflict in a group is taken for written",
        "ChangeGroup.__call__",
        ".rowcount != len(rows):\n                raise RowsDiffer\n        for",
        ".rowcount != len(rows):\n                pass\n        for",
        f"{STATES}[b-SqliteHarness]",
    ),
    Mutant(
        "a row that was written as expected keeps its old version",
        "InstanceCache.on_answer",
        "fence = Fence(expected.incarnation, expected.version + 1)",
        "fence = Fence(expected.incarnation, expected.version)",
        "tests/behaviour/test_shared_flights.py::test_turns_that_were_folded_leave_the_row_that_is_stored[sqlite]",
    ),
    # ------------------------------------------------------------ flights
    Mutant(
        "turns whose commit has an unknown outcome are decided again",
        "taken_apart",
        " or not isinstance(stored.failure(), StoreUnavailable):",
        ":",
        "tests/behaviour/test_shared_flights.py::test_turns_whose_commit_may_be_stored_are_not_decided_again[memory]",
    ),
    Mutant(
        "a turn is decided on a pending commit of a shared store whose commit compares no version",
        "Coalescing.allows",
        "and (self.cache.may_use_rows or type(pending.transition.write) is not KeepInstance)",
        "and True",
        KEPT,
    ),
    Mutant(
        "a folded turn that changes more than the state is written as one that does not",
        "coalesced",
        "        write = Put(write.instance)\n",
        "        write = Put(write.instance, first.write.changes)\n",
        "values/test_folded_writes.py::test_folded_turns_leave_the_row_that_they_leave_one_after_the_other",
    ),
    # ------------------------------------------------------------ the first branch of `begin`
    Mutant(
        "an event beside an abandoned run is handled before that is recovered",
        "begin",
        "row.claim is None and row.event_claim is None and",
        "row.event_claim is None and",
        BRANCH,
    ),
    Mutant(
        "an event beside an abandoned event is handled before that is recovered",
        "begin",
        "row.claim is None and row.event_claim is None and",
        "row.claim is None and",
        BRANCH,
    ),
    Mutant(
        "an instance that other code left is handled as any other",
        "begin",
        "row.event_claim is None and row.left is None))",
        "row.event_claim is None))",
        BRANCH,
    ),
    Mutant(
        "an event finds a state of an older version",
        "begin",
        "            and (row is None or row.state_version == job.plan.state_version)\n",
        "",
        BRANCH,
    ),
    Mutant(
        "a held job runs its alarms",
        "begin",
        '            and inputs.hold == "released"\n',
        "",
        BRANCH,
    ),
    Mutant(
        "a run begins before its alarm is due",
        "begin",
        "            and (command is not AlarmDue or _is_due(row, inputs))\n",
        "",
        BRANCH,
    ),
    # ------------------------------------------------------------ writes of few columns
    Mutant(
        "an upgraded state is written without its version",
        "event_handled",
        "if execute.is_row and before.claim is None:",
        "if before.claim is None:",
        NARROW,
    ),
    Mutant(
        "the claim of an event forgets that the state was upgraded",
        "claim_event",
        "is_narrow = execute.is_row and before.claim is None",
        "is_narrow = before.claim is None",
        NARROW,
    ),
    Mutant(
        "the claim of a new run leaves the retry that it replaces",
        "_has_room",
        "        and row.pending_retry is None\n",
        "",
        NARROW,
    ),
    Mutant(
        "a run that succeeds leaves the error of the last one",
        "run_executed",
        "        and before.last_error is None\n",
        "",
        NARROW,
    ),
    Mutant(
        "the end of a claimed event is written as a state alone",
        "event_handled",
        '                changes = "event_end" if before.lane is None else "any"\n',
        '                changes = "state"\n',
        NARROW,
    ),
    Mutant(
        "an event that sets the alarm is written as a state alone",
        "event_handled",
        "if not is_new and alarm_ms == before.alarm_ms and execute.prior is None:",
        "if not is_new and execute.prior is None:",
        NARROW,
    ),
    Mutant(
        "the messages of an event are lost",
        "event_handled",
        "messages=tuple(draft.messages) if draft.messages else (),",
        "messages=(),",
        "tests/behaviour/test_messages.py::test_a_message_is_committed_with_the_turn_and_delivered_after[memory]",
    ),
    Mutant(
        "an alarm is lost whose row was read before an event changed the state",
        "Alarms._is_written",
        " and kept.due_ms != read.due_ms",
        "",
        f"{ALARM}[False]",
    ),
    # ------------------------------------------------------------ a claim with the acceptance
    Mutant(
        "the claim with an acceptance is written as a second version",
        "with_claim",
        "changed(incarnation=before.incarnation, version=before.version)",
        "changed(incarnation=before.incarnation)",
        ACCEPTED,
    ),
    Mutant(
        "the events of a claim with an acceptance are lost",
        "with_claim",
        "events=commit.transition.events + claiming.events",
        "events=claiming.events",
        ACCEPTED,
    ),
    Mutant(
        "an acceptance that is not stored leaves its alarm counted",
        "RunExecutor._end",
        "                self.alarms.withdraw(entry)\n",
        "                pass\n",
        f"{FOR_NOW}::test_a_conflict_decides_its_acceptance_again[memory]",
    ),
    Mutant(
        "an alarm is accepted before earlier ones",
        "Alarms.accept",
        "        if timers.has_due(due_ms) or timers.next_ms <= self.runtime.now_ms() or"
        " timers.has_due(self.runtime.now_ms()):\n            return None\n",
        "",
        f"{FOR_NOW}::test_alarms_that_became_due_while_no_engine_ran_come_first[memory]",
    ),
    # ------------------------------------------------------------ programs without the loop of the interpreter
    Mutant(
        "a straight run performs an instruction that the program only returns",
        "run_inline",
        "        if instruction_tag != PERFORM:\n            break\n",
        "",
        f"{STRAIGHT}::test_a_straight_run_is_that_of_the_interpreter",
    ),
    Mutant(
        "the error of a straight run does not name the block that yields no program",
        "interpret",
        "payload: Any = inside or program",
        "payload: Any = program",
        f"{STRAIGHT}::test_a_straight_run_is_that_of_the_interpreter",
    ),
    Mutant(
        "the result of a service that must be awaited is asked for twice",
        "run_while_answered",
        "return Suspended(loop, (instruction, scope), answer)",
        "return Suspended(loop, (instruction, scope))",
        f"{STRAIGHT}::test_effects_that_are_answered_at_once_are_those_of_a_task",
    ),
    # ------------------------------------------------------------ guards against defects
    Mutant(
        "a defect before the claim with an acceptance leaves its alarm counted",
        "accepted_run",
        "        if accepted is None:\n            alarms.withdraw(entry)\n",
        "        pass\n",
        f"{DEFECTS}[runner]",
    ),
    Mutant(
        "a defect of the engine between two turns leaves an instance busy",
        "Dispatcher._recover_mailbox",
        '            cell.state = "idle"\n            if cell.deferred',
        "            if cell.deferred",
        LINES,
    ),
    Mutant(
        "a defect while a request leaves the queue leaves its caller without an answer",
        "Dispatcher._serve_until_wait",
        "                self._fail(cell, entry, defect)\n",
        "                self._internal_error(cell, defect)\n",
        LINES,
    ),
    Mutant(
        "a defect between two turns leaves a claim that no code settles",
        "Dispatcher._fail",
        "        if cell.running and not cell.settles_claims:\n",
        "        if False:\n",
        LINES,
    ),
    Mutant(
        "a request is counted as finished twice after a defect",
        "Dispatcher._uncount",
        "self._pending - entry.pending_weight, 0",
        "self._pending - entry.pending_weight, entry.pending_weight",
        LINES,
    ),
    Mutant(
        "a defect in the turn of the end of a run in the background leaves that run in memory",
        "Dispatcher._fail",
        "            cell.background = None\n",
        "            pass\n",
        LINES,
    ),
    Mutant(
        "a run that no task can run keeps its slot",
        "RunExecutor._end",
        "        self._return_slot(run)\n",
        "",
        f"{DEFECTS}[runs]",
    ),
    Mutant(
        "a read is waited for although the store does not answer",
        "RunningEngine._leave_behind",
        "        self.outbox.abandon()\n        self.reads.leave()\n",
        "        self.outbox.abandon()\n",
        f"{ANSWERED}::test_a_read_that_the_store_does_not_answer_before_the_engine_stops[memory-a list]",
    ),
    Mutant(
        "the coroutine of a service is left when its program is dropped",
        "Suspended.drop",
        "        close_unawaited(self.awaited)\n",
        "",
        "tests/program/test_outcomes.py::"
        "test_a_program_that_is_dropped_leaves_no_coroutine_that_was_never_awaited[_begins_later]",
    ),
    # ------------------------------------------------------------ keys that are decided before they are looked up
    Mutant(
        "a group of commits stores a known key",
        "_REMEMBER",
        "  WHERE keys.expires_ms <= ?8\n",
        "  WHERE ?8 > 0\n",
        "tests/stores/test_conformance_grouped.py::test_the_store_keeps_in_groups"
        "[a_known_key_is_a_conflict-SqliteHarness]",
    ),
    Mutant(
        "a memory store stores a known key",
        "Keys.are_new",
        "is None for key in new.keys)",
        "is None for key in new.keys[1:])",
        f"{KEYS}::test_a_repeat_that_this_process_has_not_seen_is_found_by_the_commit[memory]",
    ),
    Mutant(
        "PostgreSQL stores a known key",
        "0012_keys_in_turn.sql",
        "AND k.expires_ms > y.at_ms));",
        "AND k.expires_ms < y.at_ms));",
        f"{KEYS}::test_a_repeat_that_this_process_has_not_seen_is_found_by_the_commit[postgres]",
    ),
    Mutant(
        "a claim does not check its key",
        "claim_event",
        "new_keys=condition_of(execute.request),",
        "new_keys=None,",
        f"{KEYS}::test_a_repeat_that_this_process_has_not_seen_is_found_by_the_commit[memory]",
    ),
    Mutant(
        "a rejection is an answer although the key was not looked up",
        "TurnExecutor._handle",
        "if step.request.unread_key_ms is not None and type(begun) is not Success:",
        "if step.request.unread_key_ms is None and type(begun) is not Success:",
        f"{KEYS}::test_a_known_key_is_answered_although_the_handler_refuses_now[memory]",
    ),
    Mutant(
        "keys of a pending commit take no room",
        "KnownKeys.may_skip",
        "return cell.keys_held + pending < self.max_keys",
        "return cell.keys_held < self.max_keys",
        f"{KEYS}::test_no_more_keys_are_stored_together_than_there_is_room_for[memory]",
    ),
    Mutant(
        "a key that a commit refused is taken for a new one again",
        "KnownKeys.may_skip",
        "if cell.keys_held is None or entry.conflicts or not",
        "if cell.keys_held is None or not",
        f"{KEYS}::test_a_repeat_that_this_process_has_not_seen_is_found_by_the_commit[memory]",
    ),
    Mutant(
        "a keyed request waits for the pending commit of its instance",
        "Coalescing.allows",
        "and (entry.request.idempotency_key is None or self.keys.may_skip(cell, entry))",
        "and entry.request.idempotency_key is None",
        f"{KEYS}::test_keyed_requests_of_one_instance_are_applied_together[sqlite]",
    ),
    Mutant(
        "a run that is claimed after the stop has cancelled the others begins",
        "RunExecutor._execute",
        "is_released = self.runner.stops_runs and not run.is_begun",
        "is_released = False",
        "tests/behaviour/test_common_answers.py::"
        "test_a_run_that_is_released_while_it_is_claimed_counts_no_crash[memory-at once]",
    ),
)
