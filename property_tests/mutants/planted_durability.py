"""Bugs in the guarantees of a file: acknowledged commits are there, it has one owner, and damage is detected."""

from mutant import Mutant

SICK = "durability/test_sick_disk.py::test_everything_acknowledged_is_stored_and_the_store_continues"
CUT = "durability/test_power_cut.py::test_acknowledged_commits_are_there_and_no_commit_is_half_written"
SHIPPING = "tests/stores/test_sqlite_shipping.py"
BACKUP = "stores/test_backup_prefix.py::test_a_backup_is_a_whole_prefix_of_the_commits"
ALONE = "tests/stores/test_sqlite_group_commit.py::test_one_value_that_cannot_be_written_fails_alone"
OPENING = "tests/stores/test_sqlite_opening.py"
OWNERSHIP = "tests/stores/test_sqlite_ownership.py"
KEEPS = "tests/stores/test_conformance.py::test_the_store_keeps"
VERSIONS = "tests/behaviour/test_state_versions.py"

MUTANTS = (
    # ------------------------------------------------------------ acknowledged commits are there
    Mutant(
        "full durability does not sync its commits",
        "_SYNCHRONOUS",
        '"full": "FULL"',
        '"full": "NORMAL"',
        f"{CUT}[full]",
    ),
    Mutant(
        "a store continues over a log that could not be synced",
        "_reopened",
        'if truncate_log(cursor) == "blocked":',
        "if cursor is None:",
        f"{SICK}[does not sync-5]",
    ),
    Mutant(
        "a connection is trusted after a commit that failed",
        "GroupWriter.write",
        "except _CommitFailed as error:\n            self.is_trusted = False\n",
        "except _CommitFailed as error:\n",
        "tests/stores/test_sqlite_group_commit.py::test_a_commit_that_breaks_on_its_way_to_the_disk_has_an_unknown_outcome",
    ),
    Mutant(
        "a commit that failed is taken for one that was refused",
        "GroupWriter.write",
        'Failure(OutcomeUnknown(f"COMMIT failed: {error.__cause__}"))',
        'Failure(StoreUnavailable("commit", f"{error.__cause__}"))',
        f"{SICK}[does not sync-1]",
    ),
    Mutant(
        "a store builds on the log of a crash",
        "_opened",
        '"PRAGMA wal_checkpoint(PASSIVE)"',
        '"PRAGMA page_count"',
        f"{OPENING}::test_the_log_of_a_crash_is_in_the_file_before_anything_is_built_on_it",
    ),
    Mutant(
        "half a group stays when one of it breaks",
        "GroupWriter.write",
        "many kinds\n            self._undo(cursor)\n",
        'many kinds\n            cursor.execute("COMMIT")\n',
        ALONE,
    ),
    Mutant(
        "one write that breaks takes its neighbours with it",
        "GroupWriter.write",
        "if len(group) == 1 or not self.is_trusted:",
        "if True:",
        "tests/stores/test_sqlite_group_commit.py::test_a_write_that_fails_takes_no_other_of_its_transaction_with_it",
    ),
    Mutant(
        "numbers of rolled back rows are not used again",
        "GroupWriter._undo",
        "        self.counters.rolled_back()\n",
        "",
        ALONE,
    ),
    # ------------------------------------------------------------ a file has one owner
    Mutant(
        "a standby takes over a living owner",
        "_EXCLUSIVE",
        "fcntl.LOCK_EX | fcntl.LOCK_NB",
        "fcntl.LOCK_SH | fcntl.LOCK_NB",
        f"{OWNERSHIP}::test_a_file_has_one_owner_whatever_the_path_it_is_opened_by[renamed folder-in another process]",
    ),
    Mutant(
        "a commit into a file that is gone is acknowledged",
        "GroupWriter._write_together",
        "self.lost = self.ownership.loss_after_transaction() or self._move_log(cursor)",
        "self.lost = self._move_log(cursor)",
        f"{OWNERSHIP}::test_a_file_that_goes_while_a_commit_is_on_its_way_acknowledges_nothing",
    ),
    Mutant(
        "a hard link lets a second engine serve a file",
        "_database_locked",
        'if sys.platform == "linux":  # elsewhere',
        "if sys.platform is None:  # elsewhere",
        f"{OWNERSHIP}::test_a_file_has_one_owner_whatever_the_path_it_is_opened_by[hard link-in another process]",
    ),
    Mutant(
        "an engine takes a file that was copied over for its own",
        "Ownership._loss",
        '        if found["file"] not in (self.stamp, None):\n',
        '        if found["file"] is None:\n',
        f"{OWNERSHIP}::test_a_backup_that_is_copied_over_the_file_of_an_engine_is_kept",
    ),
    Mutant(
        "an engine takes a copy that is made during its checkpoint for its own",
        "Ownership.loss_after_checkpoint",
        "return None if are_found else OwnershipLost(self.store, _WRITTEN_OVER_DURING)",
        "return None",
        f"{OWNERSHIP}::test_a_file_that_is_overwritten_during_a_checkpoint_acknowledges_nothing[truncated-after]",
    ),
    Mutant(
        "every opening of a file has the same number",
        "next_epoch",
        "SET epoch = epoch + 1 RETURNING",
        "SET epoch = epoch RETURNING",
        f"{OPENING}::test_the_epoch_grows_with_every_opening",
    ),
    # ------------------------------------------------------------ housekeeping
    Mutant(
        "the log is never moved into the file",
        "GroupWriter._move_log",
        "if not is_longer_than(log, self.checkpoint_pages):",
        "if log:",
        "tests/stores/test_sqlite_log.py::test_without_readers_it_is_never_much_longer_than_a_checkpoint",
    ),
    Mutant(
        "retention deletes instances",
        "prune",
        "    removed = cursor.execute(_KEYS",
        '    cursor.execute("DELETE FROM instances WHERE updated_ms < ?", (retention.events_since_ms,))\n'
        "    removed = cursor.execute(_KEYS",
        "stores/test_stores_agree.py::test_the_sqlite_store_agrees_with_the_memory_store",
    ),
    Mutant(
        "retention deletes a key within its window",
        "_KEYS",
        "FROM keys WHERE expires_ms <= ? ORDER BY",
        "FROM keys WHERE expires_ms >= ? ORDER BY",
        f"{KEEPS}[pruning_removes_expired_keys-SqliteHarness]",
    ),
    Mutant(
        "a dead letter is deleted a millisecond too early",
        "_DEAD_LETTERS",
        "FROM dead_letters WHERE sent_ms < ? ORDER",
        "FROM dead_letters WHERE sent_ms <= ? ORDER",
        f"{KEEPS}[pruning_removes_old_dead_letters-SqliteHarness]",
    ),
    Mutant(
        "an event is deleted a millisecond too early",
        "_FIRST_KEPT",
        "WHERE at_ms >= :since_ms AND",
        "WHERE at_ms > :since_ms AND",
        f"{KEEPS}[pruning_removes_the_beginning_of_the_log-SqliteHarness]",
    ),
    Mutant(
        "an event as old as its job's history is not kept",
        "_MOVE_EVENTS",
        "e.at_ms >= :now_ms",
        "e.at_ms > :now_ms",
        f"{KEEPS}[kept_events_leave_the_log_and_stay_in_the_history-SqliteHarness]",
    ),
    Mutant(
        "the events of a job whose name begins with that of another one are kept as well",
        "_MOVE_EVENTS",
        "e.address < h.job || ';'",
        "e.address < h.job || '~'",
        f"{KEEPS}[kept_events_leave_the_log_and_stay_in_the_history-SqliteHarness]",
    ),
    Mutant(
        "one event more than the number of a history is kept",
        "_KEPT_EVENTS",
        "AND number > (SELECT",
        "AND number >= (SELECT",
        f"{KEEPS}[kept_events_go_by_age_and_number-SqliteHarness]",
    ),
    Mutant(
        "code without the option deletes the kept events of its job",
        "Maintenance._declare_histories",
        "for job, definition in self.jobs.items() if definition.plan.history}",
        "for job, definition in self.jobs.items()}",
        "tests/behaviour/test_kept_history.py::test_code_without_the_option_deletes_no_kept_event_before_its_age",
    ),
    Mutant(
        "a backup leaves out commits that are still in the log",
        "SqliteBackups._filled",
        "lent.connection.backup(target, pages=self.step_pages, progress=lent.loan.between, sleep=0)",
        '__import__("shutil").copyfile(self.file.path, copy.path)',
        BACKUP,
    ),
    Mutant(
        "verify overlooks a wrong alarm column",
        "check_instance",
        'zip(("due_ms", "owner", "status", "rank_ms"), row.index, expected, strict=True)',
        'zip(("owner", "status", "rank_ms"), row.index[1:], expected[1:], strict=True)',
        "tests/cli/test_verify.py::test_each_defect_is_found_alone",
    ),
    # ------------------------------------------------------------ stored data outlives code
    Mutant(
        "the chain of upcasters begins a step too late",
        "Upgrades.upgrade",
        "steps = self.steps[version - self.oldest :]",
        "steps = self.steps[version - self.oldest + 1 :]",
        "testing/test_check_evolution.py::test_a_good_chain_passes_in_every_kind_of_job",
    ),
    Mutant(
        "a state that was upgraded is upgraded again",
        "Definition.present",
        "return upgraded.changed(state_version=self.plan.state_version)",
        "return upgraded",
        f"{VERSIONS}::test_the_next_commit_writes_the_new_form",
    ),
    # ------------------------------------------------------------ a crash loses nothing
    Mutant(
        "runs that were left behind wait for a request",
        "Recovery.claims",
        "recovered += self._post(tuple(filter(self.recovers, rows)))",
        "recovered += len(rows)",
        "behaviour/test_recovery_laws.py::test_a_first_event_that_fails_leaves_no_instance",
    ),
    # ------------------------------------------------------------ object storage
    Mutant(
        "pages that were written since the last shipment are missing in the next one",
        "HeldLog.changed",
        "if frame > since.frame}",
        "if frame > now.frame}",
        f"{SHIPPING}::test_only_changed_pages_are_shipped",
    ),
    Mutant(
        "a log that was reused while its frames were read tells that nothing changed",
        "HeldLog.changed",
        "return set[int]() if now == since else None",
        "return set[int]()",
        f"{SHIPPING}::test_a_log_that_is_reused_between_its_position_and_its_frames_tells_no_changes",
    ),
    Mutant(
        "commits at the end of a log that started over are not shipped",
        "HeldLog.changed",
        "set(snapshot.frames) | set(tail)",
        "set(snapshot.frames)",
        f"{SHIPPING}::test_a_long_log_starts_over_and_nothing_is_missed",
    ),
    Mutant(
        "a restore applies objects in any order",
        "_pieces",
        "if piece.previous != previous:",
        "if False:",
        f"{SHIPPING}::test_a_reordered_object_is_refused_without_keys_too",
    ),
)
