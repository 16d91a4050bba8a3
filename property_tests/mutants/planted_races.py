"""Bugs in the helpers of the engine and of the stores: races inside one step, second times, classes of errors."""

from mutant import Mutant

ERRORS = "tests/stores/test_postgres_errors.py"
SESSIONS = f"{ERRORS}::test_an_error_that_ends_the_session_says_nothing_about_its_commit"

MUTANTS = (
    Mutant(
        "a statement that an operator cancelled may have been written",
        "is_about_the_connection",
        "return state != QUERY_CANCELED and (",
        "return (",
        SESSIONS,
    ),
    Mutant(
        "a server that ends with an error has refused the statement",
        "is_about_the_connection",
        "    if ends_the_session(error):\n        return True\n",
        "",
        SESSIONS,
    ),
    Mutant(
        "engines whose leases have both ended declare each other dead",
        "0007_renew_first.sql",
        "BEGIN\n  UPDATE",
        "BEGIN\n  PERFORM perdure.declare_dead(epoch) FROM perdure.engines\n    WHERE state = 'open' AND lease_until < "
        "clock_timestamp() AND epoch <> my_epoch ORDER BY epoch;\n  UPDATE",
        "tests/stores/test_postgres_engines.py::test_engines_whose_leases_have_both_ended_do_not_wait_for_each_other",
    ),
    Mutant(
        "an engine that renews its lease while another one waits for its writers is declared dead",
        "0006_deaths_apart.sql",
        "epoch = which AND state = 'open' AND lease_until < clock_timestamp();",
        "epoch = which AND state = 'open';",
        "tests/stores/test_postgres_engines.py::test_only_an_open_engine_without_a_lease_is_declared_dead",
    ),
    Mutant(
        "a resumed target receives the message of one sender",
        "Outbox.release",
        "for held in self._held.pop(target):",
        "for held in self._held.pop(target)[-1:]:",
        "tests/behaviour/test_messages.py::test_a_resumed_target_receives_the_messages_of_every_sender_at_once[memory]",
    ),
    Mutant(
        "a read that ends late replaces the row of a commit",
        "InstanceCache.loaded",
        "        if kept is not None and self.may_use_rows:\n            return\n",
        "",
        "engine/test_resident_races.py::test_of_an_owned_store_a_kept_row_is_the_stored_one",
    ),
    Mutant(
        "a run that watches no more silences the others",
        "InstanceCache.unwatch",
        "left = tuple(other for other in self.watched.pop(address, ()) if other is not change)",
        "self.watched.pop(address, ())\n        left: tuple[Future[None], ...] = ()",
        "engine/test_resident_races.py::test_each_run_that_watches_sees_the_next_change_and_no_other",
    ),
    Mutant(
        "of several runs that watch one sees a change",
        "InstanceCache._tell_of",
        "for change in self.watched.pop(address, ()):",
        "for change in self.watched.pop(address, ())[:1]:",
        "engine/test_resident_races.py::test_each_run_that_watches_sees_the_next_change_and_no_other",
    ),
    Mutant(
        "a run that watches misses a change whose outcome is not known",
        "InstanceCache.on_answer",
        "        if self.watched:\n            self._tell_of(cell.address)",
        "        if self.watched and isinstance(answer, Success):\n            self._tell_of(cell.address)",
        "engine/test_resident_races.py::test_each_run_that_watches_sees_the_next_change_and_no_other",
    ),
    Mutant(
        "the end of one read of rows ends all others",
        "InstanceCache.end_read",
        "[other for other in self._reads if other is not changed]",
        "[]",
        "engine/test_resident_races.py::test_of_an_owned_store_a_kept_row_is_the_stored_one",
    ),
    Mutant(
        "after a conflict a turn is decided on the kept row again",
        "InstanceCache.note_conflict",
        '        rivals = 1 if entries[0].row_source == "read" else 0\n        entries[0].row_source = "read"\n',
        '        rivals = 1 if entries[0].row_source == "read" else 0\n',
        "engine/test_resident_races.py::test_a_conflict_on_a_kept_row_is_no_rival_and_the_row_is_read_then",
    ),
    Mutant(
        "turns are decided on kept rows although those are out of date",
        "InstanceCache.loaded",
        "            self._note_current(1.0)\n            return\n        self._note_current(0.0)",
        "            self._note_current(1.0)\n            return",
        "engine/test_resident_races.py::test_turns_are_decided_on_kept_rows_while_most_of_those_are_current",
    ),
    Mutant(
        "a shutdown does not reach code that ignored a cancellation",
        "InstanceCell.stop",
        'if run.task is not None and (run.stop is None or why == "released"):',
        "if run.task is not None and run.stop is None:",
        "engine/test_waiting_model.py::test_the_first_reason_of_a_stop_counts_and_a_shutdown_cancels_again",
    ),
    Mutant(
        "the last reason of a stop counts",
        "InstanceCell.stop",
        "run.stop = run.stop or why",
        "run.stop = why",
        "engine/test_waiting_model.py::test_the_first_reason_of_a_stop_counts_and_a_shutdown_cancels_again",
    ),
    Mutant(
        "the end of one run ends all runs of its instance",
        "InstanceCell.forget",
        "self.running = tuple(running for running in self.running if running != run_id)",
        "self.running = ()",
        "engine/test_waiting_model.py::test_the_end_of_one_run_ends_no_other",
    ),
    Mutant(
        "a defect in one turn keeps other turns from their rows",
        "Reads._tell_all",
        "            for left in told:\n                self._tell_later(*left)",
        "            pass",
        "engine/test_group_model.py::test_a_defect_in_one_turn_keeps_no_other_from_its_row",
    ),
    Mutant(
        "a stop waits for the first of several reads",
        "DirectReads._report_answered",
        "        if not self._open:\n"
        "            over, self._over = self._over, []\n"
        "            for waiting in over:\n"
        "                _tell(waiting)",
        "        over, self._over = self._over, []\n        for waiting in over:\n            _tell(waiting)",
        "engine/test_group_model.py::test_each_reader_is_answered_and_a_stop_waits_for_those_it_must",
    ),
    Mutant(
        "a reader that comes after the end waits forever",
        "DirectReads.answer",
        '                if self.phase == "open":\n                    await end',
        "                await end",
        "engine/test_group_model.py::test_each_reader_is_answered_and_a_stop_waits_for_those_it_must",
    ),
    Mutant(
        "a stop waits for a reader that was cancelled",
        "DirectReads.answer",
        '                if self.phase == "open":\n'
        "                    await end\n"
        "            finally:\n"
        "                waits.pop(end, None)\n"
        "                self._report_answered()\n",
        '                if self.phase == "open":\n'
        "                    await end\n"
        "                waits.pop(end, None)\n"
        "                self._report_answered()\n"
        "            finally:\n",
        "engine/test_group_model.py::test_each_reader_is_answered_and_a_stop_waits_for_those_it_must",
    ),
    Mutant(
        "the next group leaves twice",
        "StoreBatcher._answered",
        'if self._waiting and self._state == "idle":',
        "if self._waiting:",
        "engine/test_group_model.py::test_each_request_leaves_once_and_gets_its_answer",
    ),
    Mutant(
        "a caller that waits gets a later status than the first",
        "StatusWaiters._show",
        "wait.reached = wait.reached or Reached(reached)",
        "wait.reached = Reached(reached)",
        "engine/test_waiting_model.py::test_a_caller_that_waits_misses_no_status_and_no_end",
    ),
    Mutant(
        "a status is missed if the time is up during a read",
        "StatusWaiters._answer",
        '            time_is_up = wait.time == "up"\n'
        "            loaded: Result[Any, CallError] = await self.reads.load(address)\n",
        "            loaded: Result[Any, CallError] = await self.reads.load(address)\n"
        '            time_is_up = wait.time == "up"\n',
        "engine/test_waiting_model.py::test_a_caller_that_waits_misses_no_status_and_no_end",
    ),
    Mutant(
        "a lease counts from the answer of its heartbeat",
        "Membership._renew",
        "began_ms + self.sharing.lease_ms * SURE)",
        "self.runtime.monotonic_ms() + self.sharing.lease_ms * SURE)",
        "sharing/test_membership_model.py::test_an_engine_relies_on_its_lease_no_longer_than_it_is_renewed",
    ),
    Mutant(
        "after one failure all heartbeats are frequent",
        "Membership._beat",
        "self._failures, self._stated = 0, served",
        "self._stated = served",
        "sharing/test_membership_model.py::test_an_engine_relies_on_its_lease_no_longer_than_it_is_renewed",
    ),
    Mutant(
        "a share that is returned during a heartbeat stays stated",
        "Membership._beat",
        "self._failures, self._stated = 0, served",
        "self._failures, self._stated = 0, self._served",
        "sharing/test_membership_model.py::test_a_share_that_is_given_up_is_stated_at_once_also_during_a_heartbeat",
    ),
    Mutant(
        "the pauses between looks for claims grow without a bound",
        "ClaimSweeper._repeated",
        "delay_ms = min(2 * delay_ms, SWEEP_MS)",
        "delay_ms = 2 * delay_ms",
        "sharing/test_membership_model.py::test_after_each_end_of_an_engine_all_claims_are_looked_at",
    ),
    Mutant(
        "the second loss of the lock is not noticed",
        "LockRecovery._regain",
        "it may have ended already.\n        self._lock.when_ended(self._ended)\n",
        "it may have ended already.\n",
        "stores/test_postgres_lock_models.py::test_each_loss_of_the_lock_is_told_and_followed_by_attempts",
    ),
    Mutant(
        "the pauses between attempts to take the lock grow without a bound",
        "LockRecovery._regain",
        "wait_ms = min(2 * wait_ms, LONGEST_WAIT_MS)",
        "wait_ms = 2 * wait_ms",
        "stores/test_postgres_lock_models.py::test_each_loss_of_the_lock_is_told_and_followed_by_attempts",
    ),
    Mutant(
        "messages that were sent while no connection listened wait",
        "NotificationListener._listen",
        "                await ended\n                listener()",
        "                await ended",
        "stores/test_postgres_lock_models.py::test_notifications_are_heard_after_each_end_of_the_connection",
    ),
    Mutant(
        "the third connection hears no notification",
        "NotificationListener._listen",
        "        while True:\n            ended = await self._connected(listener)\n            if ended is None:",
        "        for _ in range(2):\n"
        "            ended = await self._connected(listener)\n"
        "            if ended is None:",
        "stores/test_postgres_lock_models.py::test_notifications_are_heard_after_each_end_of_the_connection",
    ),
    Mutant(
        "a statement overtakes one that touches the same",
        "groups_of",
        "        first.update(dict.fromkeys(touched, at + 1))",
        "        first.update({each: at + 1 for each in touched if each not in first})",
        "stores/test_batch_models.py::test_changes_that_touch_the_same_are_in_different_groups_in_their_order",
    ),
    Mutant(
        "a statement holds one request more than its bound",
        "groups_of",
        "len(groups[at]) == largest",
        "len(groups[at]) > largest",
        "stores/test_batch_models.py::test_changes_that_touch_the_same_are_in_different_groups_in_their_order",
    ),
    Mutant(
        "a row that was doubted during its read is kept",
        "InstanceCache.loaded",
        "        if cell.is_doubted:\n            return\n",
        "",
        "engine/test_resident_races.py::test_of_an_owned_store_a_kept_row_is_the_stored_one",
    ),
    Mutant(
        "the second close of a file never returns",
        "Batcher._end",
        "for closed in self._closers or ():",
        "for closed in (self._closers or [])[:1]:",
        "stores/test_batch_models.py::test_each_request_to_a_file_is_answered_once_and_every_close_returns",
    ),
    Mutant(
        "requests beyond the bound of a batch are dropped",
        "_Queue.serve",
        "batch, self.waiting = self.waiting[: self.largest], self.waiting[self.largest :]",
        "batch, self.waiting = self.waiting[: self.largest], []",
        "stores/test_batch_models.py::test_each_request_to_a_file_is_answered_once_and_every_close_returns",
    ),
    Mutant(
        "a file that cannot be opened again ends the batcher",
        "_Queue.serve",
        "        except StoreError as error:  # the file could not be opened again: nothing was sent\n"
        "            answers = [Failure(error)] * len(batch)\n",
        "",
        "stores/test_batch_models.py::test_each_request_to_a_file_is_answered_once_and_every_close_returns",
    ),
    Mutant(
        "writes wait for a stream of reads",
        "Batcher._drive",
        "                if reads.waiting:\n                    await reads.serve()",
        "                while reads.waiting:\n                    await reads.serve()",
        "stores/test_batch_models.py::test_reads_and_writes_of_a_file_take_turns",
    ),
    Mutant(
        "a run reads its row before it watches it",
        "Checkpoints.changed",
        "            change = self.cache.watch(address, self.runtime.future())\n            try:\n"
        "                joined = await self._present(run)\n                if self._state",
        "            joined = await self._present(run)\n"
        "            change = self.cache.watch(address, self.runtime.future())\n            try:\n"
        "                if self._state",
        "engine/test_change_model.py::test_a_run_sees_the_last_change_of_its_row",
    ),
    Mutant(
        "a branch continues before its checkpoint is durable",
        "Checkpoints.save",
        '        while self._state == "saving":\n            await self.settled()',
        '        if self._state == "saving":\n            await self.settled()',
        "behaviour/test_checkpoint_laws.py::test_each_word_has_one_row_and_the_run_ends",
    ),
    Mutant(
        "a message to a target that is resumed during its delivery waits",
        "Outbox.release",
        "        self._resumed.update(pair for pair in self._under_way if pair[1] == target)\n",
        "",
        "engine/test_outbox_model.py::test_each_message_is_consumed_once_in_order_and_soon_after_a_resumption",
    ),
    Mutant(
        "a message that was consumed is postponed by a resumption",
        "Outbox._answered",
        "                self._held.discard(pair)\n                self._settled(pair)\n",
        "                self._settled(pair)\n",
        "engine/test_outbox_model.py::test_a_message_that_was_consumed_is_not_postponed_by_a_later_resumption",
    ),
    Mutant(
        "a batch of alarms stays large when nothing more is due",
        "AlarmWindow.reset",
        "self._size = self.sizes.alarm_window",
        "self._size = max(self._size, self.sizes.alarm_window)",
        "engine/test_alarm_window.py::test_a_batch_grows_and_shrinks_as_the_model_says",
    ),
    Mutant(
        "a batch of alarms grows without a bound",
        "AlarmWindow.look",
        "self._size = min(self.sizes.max_alarm_window, grown)",
        "self._size = grown",
        "engine/test_alarm_window.py::test_the_largest_batch_has_a_bound",
    ),
    Mutant(
        "an engine of an older version shares the work",
        "_newest",
        "found[job] = frozenset(other for other, versions in served.items() if versions.get(job) == version)",
        "found[job] = frozenset(other for other, versions in served.items() if job in versions)",
        "sharing/test_share_laws.py::test_the_engines_of_the_newest_version_divide_each_job",
    ),
    Mutant(
        "each job is divided as the first one",
        "share_of",
        "        if candidates not in drawn:",
        "        if not drawn:",
        "sharing/test_share_laws.py::test_the_engines_of_the_newest_version_divide_each_job",
    ),
    Mutant(
        "all marks are written into one table",
        "CheckpointMarks.write",
        "cursor.execute(_WRITE[self._number % 2], (self._written,))",
        "cursor.execute(_WRITE[1], (self._written,))",
        "stores/test_sqlite_state_models.py::test_marks_alternate_between_the_tables",
    ),
    Mutant(
        "no mark is written after a rollback",
        "CheckpointMarks.rolled_back",
        '        """Note that the transaction was rolled back."""\n        self._written = None',
        '        """Note that the transaction was rolled back."""',
        "stores/test_sqlite_state_models.py::test_each_number_is_assigned_once_and_the_marks_are_those_of_the_tables",
    ),
    Mutant(
        "a number is assigned again after a rollback",
        "Counters.committed",
        "        self._saved = self._now\n        self.counts.committed()",
        "        self.counts.committed()",
        "stores/test_sqlite_state_models.py::test_each_number_is_assigned_once_and_the_marks_are_those_of_the_tables",
    ),
    Mutant(
        "the second attempt after a resumption is the last",
        "_retried",
        "        error=record,\n        uncounted=claim.uncounted,\n    )\n    log",
        "        error=record,\n    )\n    log",
        "tests/behaviour/test_task_retry.py::test_each_resumption_allows_as_many_attempts_again[memory]",
    ),
    Mutant(
        "the second resumption allows one attempt",
        "park_run",
        "uncounted=claim.attempt - 1,",
        "uncounted=claim.uncounted,",
        "tests/behaviour/test_task_retry.py::test_each_resumption_allows_as_many_attempts_again[memory]",
    ),
    Mutant(
        "the time limit of retries continues after a resumption",
        "_first_failed_ms",
        "if pending_retry is None or claim.attempt == claim.uncounted + 1",
        "if pending_retry is None or claim.attempt == 1",
        "tests/behaviour/test_task_retry.py::test_each_resumption_allows_as_many_attempts_again[memory]",
    ),
    Mutant(
        "a deadlock is a refusal",
        "_AGAIN",
        '_AGAIN: Final = ("40001", "40P01", LOCK_NOT_AVAILABLE)',
        '_AGAIN: Final = ("40001", LOCK_NOT_AVAILABLE)',
        "tests/stores/test_postgres_errors.py::test_a_statement_that_other_transactions_undid_is_repeated_twice",
    ),
    Mutant(
        "a write that is refused refuses its group",
        "PostgresOperations._failed",
        "if is_about_the_connection(error) or len(group) == 1:",
        "if is_about_the_connection(error) or group:",
        "tests/stores/test_postgres_errors.py::test_a_write_that_the_server_refuses_keeps_no_other_of_its_group_back[23505]",
    ),
    Mutant(
        "messages that were sent before an engine listens wait",
        "NotificationListener._listen",
        "                listener()  # messages that were sent before are not notified again\n",
        "",
        "stores/test_postgres_lock_models.py::test_no_message_waits_for_the_next_one",
    ),
    Mutant(
        "a server that stops has refused the statement",
        "is_about_the_connection",
        '(state[:2] in ("08", "57", "")',
        '(state[:2] in ("08", "")',
        "tests/stores/test_postgres_errors.py::test_an_error_that_ends_the_session_says_nothing_about_its_commit",
    ),
    Mutant(
        "connections that are idle for the second time stay open",
        "ConnectionPool._end_idle",
        "        self._timer = None\n        until_ms",
        "        until_ms",
        "stores/test_postgres_pool.py::test_a_connection_that_is_not_used_is_closed_after_a_while",
    ),
    Mutant(
        "a branch that loses while its fork ends performs its next step",
        "Tree._drop",
        "if inner.decided is not None:\n                branch.halt = DROPPED\n",
        "if inner.decided is not None:\n                pass\n",
        "tests/workflow/test_workflow_cancellation.py"
        "::test_a_branch_that_loses_while_its_fork_ends_performs_nothing_more[none]",
    ),
    Mutant(
        "a request to cancel resumes a paused workflow",
        "_cancel",
        'if instance.suspension in (None, "paused"):',
        "if instance.suspension is None:",
        "tests/workflow/test_workflow_cancellation.py"
        "::test_a_workflow_that_is_cancelled_while_it_is_paused_is_undone_after_the_pause",
    ),
    Mutant(
        "the next workflow of a row answers the update of the last one",
        "signal_with_start",
        "number = 1 if instance is None else header_of(instance).signals + 1",
        "number = 1",
        "tests/workflow/test_workflow_updates.py"
        "::test_a_workflow_that_a_signal_starts_does_not_answer_for_the_last_one_of_its_row",
    ),
    Mutant(
        "a run that gives up when it is admitted returns the slot of another job",
        "ConcurrencyLimit.enter",
        "self.leave(company, job)  #",
        "self.leave(company)  #",
        "engine/test_concurrency_limit_laws.py"
        "::test_jobs_without_a_run_have_slots_and_the_others_go_to_the_job_with_the_fewest",
    ),
    Mutant(
        "a trigger of a run that failed for good has no attempts",
        "_left",
        "        uncounted=failed.attempts,\n",
        "",
        "tests/behaviour/test_continuous_calls.py"
        "::test_each_trigger_of_a_run_that_failed_for_good_repeats_it_with_all_attempts[memory]",
    ),
    Mutant(
        "a lock that is lost in the step in which it was regained is used",
        "LockRecovery.connection",
        'while self._state == "in_doubt":',
        'if self._state == "in_doubt":',
        "stores/test_postgres_lock_models.py::test_the_connection_of_the_lock_is_never_one_in_doubt",
    ),
)
