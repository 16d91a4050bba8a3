"""Bugs in the stores: the memory store is the model, so a bug in either makes the two differ."""

from mutant import Mutant

FENCES = "stores/test_fence_laws.py::test_every_fence_but_the_present_one_is_a_conflict"
STORES = "stores/test_stores_agree.py::test_the_sqlite_store_agrees_with_the_memory_store"
COUNTS = "stores/test_count_laws.py::test_counts_are_those_of_the_rows_that_are_counted"
ERRORS = "tests/stores/test_sqlite_errors.py"

MUTANTS = (
    Mutant(
        "a replaced connection keeps its transaction open",
        "WorkConnection.close",
        "cursor, self._cursor = self._cursor, None",
        "cursor = None",
        f"{ERRORS}::test_the_answers_to_a_group_of_writes[COMMIT is refused]",
    ),
    Mutant(
        "a connection whose transaction cannot be ended is used again",
        "GroupWriter._undo",
        "        except sqlite3.Error:\n            self.is_trusted = False",
        "        except sqlite3.Error:\n            pass",
        f"{ERRORS}::test_a_transaction_that_cannot_be_ended_is_refused_and_its_connection_replaced",
    ),
    Mutant(
        "a refused COMMIT is reported as not written",
        "GroupWriter.write",
        'return [Failure(OutcomeUnknown(f"COMMIT failed: {error.__cause__}"))] * len(group)',
        'return [Failure(StoreUnavailable("commit", f"COMMIT failed: {error.__cause__}"))] * len(group)',
        f"{ERRORS}::test_the_answers_to_a_group_of_writes[COMMIT is refused]",
    ),
    Mutant(
        "each write of a group waits for the other program's transaction again",
        "GroupWriter.write",
        "        except _NotBegun as error:\n            self.has_errors = True\n            return",
        "        except _NotBegun as error:\n            self.has_errors = True\n            if len(group) > 1:\n"
        "                return [answer for write in group for answer in self.write(cursor, (write,))]\n"
        "            return",
        f"{ERRORS}::test_batches_that_wait_together_begin_one_transaction",
    ),
    Mutant(
        "a fence is good for any incarnation",
        "_holds",
        "return expected.incarnation == stored.incarnation and expected.version == stored.version",
        "return expected.version == stored.version",
        FENCES,
    ),
    Mutant(
        "a key without an answer is emptied one key late",
        "_Held.add",
        "ordinal - remembered.full_answers)",
        "ordinal - remembered.full_answers - 1)",
        STORES,
    ),
    Mutant(
        "a purge in memory leaves messages",
        "OpenMemoryStore._write_instance",
        'if own_messages == "dropped":',
        'if own_messages == "kept":',
        STORES,
    ),
    Mutant(
        "a redriven message comes last",
        "MessageTable._insert",
        "insort(queue, stored.message_id)",
        "queue.append(stored.message_id)",
        STORES,
    ),
    Mutant(
        "the log keeps one event too few",
        "EventLog._is_let_go",
        "len(self._events) > max_events",
        "len(self._events) >= max_events",
        "tests/stores/test_conformance.py::test_the_store_keeps[pruning_removes_the_beginning_of_the_log-MemoryHarness]",
    ),
    Mutant(
        "the fate of a message is not written",
        "apply",
        "        settle(cursor, fate, pair)\n",
        "        pass\n",
        STORES,
    ),
    Mutant(
        "the index of alarms is not written",
        "_update",
        "if before is None or before.due_ms != due_ms:",
        "if before is None:",
        "tests/costs/test_costs.py::test_a_request_has_the_costs_of_the_page[the same, and it moves the alarm]",
    ),
    Mutant(
        "a purge in SQLite leaves messages",
        "apply",
        'if change.own_messages == "dropped":',
        'if change.own_messages == "never":',
        STORES,
    ),
    Mutant(
        "the key is not written",
        "_remember_all",
        "        remember(cursor, key)\n",
        "        pass\n",
        STORES,
    ),
    Mutant(
        "counts keep the changes of a transaction that was rolled back",
        "Counters.rolled_back",
        "        self.counts.rolled_back()\n",
        "",
        COUNTS,
    ),
    Mutant(
        "a change of a row that is not counted yet counts",
        "StatusCounts._counts",
        'self.progress == "some" and incarnation <= self.counted_to',
        'self.progress == "some"',
        COUNTS,
    ),
    Mutant(
        "saved counts stay in the file",
        "take_saved",
        "    cursor.execute(_FORGET)\n",
        "",
        "tests/stores/test_sqlite_counts.py::test_saved_counts_are_gone_once_an_engine_has_opened_the_file",
    ),
    Mutant(
        "an answer is kept for one key too many",
        "remember",
        "if written[0] > full_answers:",
        "if written[0] > full_answers + 1:",
        STORES,
    ),
    Mutant(
        "a redriven message counts its deliveries from the beginning",
        "_REVIVE",
        "sent_ms, trace, attempts, 0, error,",
        "sent_ms, trace, 0, 0, error,",
        "tests/behaviour/test_run_identity.py::test_each_delivery_of_a_message_has_one_id",
    ),
    Mutant(
        "an old answer is found among all keys of its instance",
        "_EMPTY",
        "UPDATE keys INDEXED BY keys_ordinals SET answer",
        "UPDATE keys SET answer",
        "tests/stores/test_sqlite_growth.py::test_unused_features_cost_nothing[a new key of an instance with many]",
    ),
    # ------------------------------------------------------------ stores at rest
    Mutant(
        "a list of a store at rest leaves out the jobs that no app serves",
        "GatewayAtRest.query",
        "jobs=None, except_jobs=())",
        "except_jobs=())",
        "tests/cli/test_operating_at_rest.py::test_a_filter_selects_the_instances_that_match[--status parked]",
    ),
    Mutant(
        "a dead letter at rest shows an input that its engine hides",
        "GatewayAtRest.shown_message",
        "        if self.definitions:",
        "        if not self.definitions:",
        "tests/cli/test_operating.py::test_a_store_at_rest_shows_with_its_app_as_its_engine_does",
    ),
    Mutant(
        "a write to a file at rest seems to succeed",
        "_ReadOnly.write",
        "        return _Answered(refused)",
        "        return _Answered(Success(None))",
        "tests/stores/test_at_rest.py::test_every_write_is_refused[sqlite]",
    ),
    Mutant(
        "a damaged row is left out of a list at rest, and nothing says so",
        "read_only_store",
        "counted=None, damage=reader.damage)",
        "counted=None)",
        "tests/cli/test_operating_at_rest.py::test_a_damaged_row_is_left_out_of_a_list_and_named",
    ),
)
