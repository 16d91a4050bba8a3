"""Bugs at the edges of limits."""

from mutant import Mutant

EDGES = "tests/limits/test_each_limit.py::test_a_limit_of_the_engine_has_the_promised_answers"
RANGES = "tests/limits/test_each_limit.py::test_the_ends_of_a_range_are_valid_and_one_beyond_is_refused"
CLOSED = "tests/server/test_guarded_connection.py::test_a_connection_is_closed_at_its_timeout_and_not_before"
TURNS = "tests/server/test_hostile_clients.py::test_one_list_or_read_more_than_the_limit_waits_for_the_end_of_another"
NAMED = "tests/behaviour/test_named_limits.py"
UNDER_WAY = "tests/workflow/test_under_way.py"
OVER_ENGINES = "property_tests/sharing/test_named_limits.py"

MUTANTS = (
    Mutant(
        "one more than the concurrency is under way",
        "StartQueue._placed",
        "            room = most - len(holders)\n",
        "            room = most + 1 - len(holders)\n",
        f"{UNDER_WAY}::test_further_starts_wait_while_the_first_ones_sleep",
    ),
    Mutant(
        "an end keeps its place",
        "StartQueue._is_under_way",
        "if row is None or row.ended_ms is not None:",
        "if row is None:",
        f"{UNDER_WAY}::test_further_starts_wait_while_the_first_ones_sleep",
    ),
    Mutant(
        "an engine ignores the places of the others",
        "StartQueue._write",
        "unread = NewKeys((KEY,), self._seen_ms) if self.store.sharing is not None else None",
        "unread = None",
        f"{UNDER_WAY}::test_engines_share_the_places_and_take_over_those_of_a_dead_one",
    ),
    Mutant(
        "an engine does not read the rows whose ends it has not seen",
        "StartQueue._may_check",
        "return may and bool(holders)",
        "return False and may and bool(holders)",
        f"{UNDER_WAY}::test_a_place_that_ended_before_the_opening_is_free",
    ),
    Mutant(
        "instances that began without a place do not count",
        "StartQueue._count",
        "self._others, self._counted, self._checked_ms = found,",
        "self._others, self._counted, self._checked_ms = {},",
        f"{UNDER_WAY}::test_a_limit_counts_instances_that_began_without_one[1]",
    ),
    Mutant(
        "a signal moves a queued start to the end",
        "_wake",
        "if instance.claim is None and (instance.lane is None or header.cancel is not None):",
        "if instance.claim is None:",
        f"{UNDER_WAY}::test_a_queued_start_receives_signals_and_keeps_its_turn",
    ),
    Mutant(
        "a cancelled start waits for its place",
        "_wake",
        "(instance.lane is None or header.cancel is not None)",
        "instance.lane is None",
        f"{UNDER_WAY}::test_a_queued_start_is_cancelled_without_a_place_and_deleted",
    ),
    Mutant(
        "the place of an earlier start begins a later one",
        "_begin_queued",
        "command.start != run_id",
        "not command.start",
        f"{UNDER_WAY}::test_a_place_begins_only_the_start_that_got_it",
    ),
    Mutant(
        "the deadline of a queued start runs in the queue",
        "_begun_now",
        "header.deadline_ms + waited_ms",
        "header.deadline_ms",
        f"{UNDER_WAY}::test_the_deadline_of_a_start_counts_from_its_beginning",
    ),
    Mutant(
        "a start with a time takes no place",
        "due",
        "if job.concurrency is not None and instance.run_count == 0 and header.cancel is None:",
        "if job.concurrency is not None and instance.run_count < 0 and header.cancel is None:",
        f"{UNDER_WAY}::test_a_start_with_a_time_waits_for_its_time_and_then_for_its_place",
    ),
    Mutant(
        "an engine counts only its own permits of a named limit",
        "Permits._block",
        "self.concurrency - sum(others.held.values())",
        "self.concurrency",
        f"{OVER_ENGINES}::test_no_more_runs_are_in_progress_than_a_limit_allows[none-0]",
    ),
    Mutant(
        "the rate of a named limit counts from zero after a crash",
        "Permits._granted",
        "[(at, number) for at, number, _ in others.begun if at + window_ms > wall_ms]",
        "[(at, number) for at, number, _ in others.begun[:0]]",
        f"{NAMED}::test_a_rate_counts_the_runs_before_a_crash",
    ),
    Mutant(
        "a run keeps its permits for ever",
        "Permits.end",
        "        self.used -= cost\n",
        "        self.used -= 0 * cost\n",
        f"{NAMED}::test_jobs_of_all_kinds_share_a_limit_and_each_run_has_its_turn",
    ),
    Mutant(
        "the calls of an effect use no limit",
        "limited",
        "            if uses:\n",
        "            if uses and not uses:\n",
        f"{NAMED}::test_calls_of_a_workflow_wait_for_the_rate_of_their_effect",
    ),
    Mutant(
        "an engine reads the changed numbers of a limit once",
        "NamedLimits._may_have_changed",
        '        return self._ownership == "shared" and ',
        "        return False and ",
        f"{OVER_ENGINES}::test_a_change_reaches_the_other_engine_within_two_seconds",
    ),
    Mutant(
        "a limit with both numbers asks for no further begins after a run",
        "Entry.give_back",
        "            self.again_ms = -math.inf",
        "            self.again_ms = 1 * self.again_ms",
        f"{NAMED}::test_a_limit_with_both_numbers_asks_for_begins_again_when_a_run_ends",
    ),
    Mutant(
        "a pool counts no key beside a rate of all",
        "NamedLimits.admits",
        "if need[0].key is not None)",
        "if need[0].key is not None and not whole.needs)",
        f"{NAMED}::test_a_pool_keeps_the_concurrency_of_a_key_beside_a_rate_of_all",
    ),
    Mutant(
        "a run that costs more than a changed number waits for ever",
        "Permits.capped",
        "        most = cost if self.concurrency is None else min(cost, self.concurrency)\n",
        "        most = cost\n",
        f"{NAMED}::test_a_run_that_costs_more_than_a_changed_number_takes_all_of_it",
    ),
    Mutant(
        "a workflow waits for ever for a child whose state no engine accepts",
        "start_child",
        "within(draft.encode(states, call.state), draft.limits.state_bytes, what=states.what)",
        "draft.encode(states, call.state).decode()",
        f"{EDGES}[state_bytes, of a child-memory]",
    ),
    Mutant(
        "a workflow or an item has a state of any size",
        "stored_value",
        "return StoredValue(within(value, limits.state_bytes, what=codec.what), None)",
        "return StoredValue(value.decode(), None)",
        f"{EDGES}[state_bytes, of a start-memory]",
    ),
    Mutant(
        "the result of an item has any size",
        "stored_value",
        "within(value, limits.input_bytes, what=codec.what)",
        "value.decode()",
        "tests/kinds/test_large_results.py"
        "::test_a_result_has_at_most_input_bytes_and_nothing_repeats_the_work_for_a_larger_one[4001-None]",
    ),
    Mutant(
        "an input in parts has any size",
        "Definition.max_input",
        "max(max_bytes, part_bytes) if",
        "(1 << 40) if",
        "tests/workflow/test_large_inputs.py"
        "::test_an_input_has_at_most_input_bytes_and_a_larger_one_leaves_no_trace[4001-None]",
    ),
    Mutant(
        "one caller more than the limit waits for a status",
        "StatusWaiters.until",
        "self.count >= self.limit",
        "self.count > self.limit",
        f"{EDGES}[waits-memory]",
    ),
    Mutant(
        "one message more than the limit is delivered at the same time",
        "Places.has",
        "mine + self.total < 2 * self.limit",
        "mine + self.total <= 2 * self.limit",
        f"{EDGES}[message_batch-memory]",
    ),
    Mutant(
        "a job's messages hide those of the other jobs",
        "Outbox.run",
        "self.store.messages(now_ms, limit, full)",
        "self.store.messages(now_ms, limit)",
        "tests/behaviour/test_slots.py::test_a_message_does_not_wait_for_the_messages_of_another_job",
    ),
    Mutant(
        "a job without messages in progress has no place beside the others",
        "Places.has",
        "mine is None or mine + self.total < 2 * self.limit",
        "(mine or 0) + self.total < self.limit",
        "tests/behaviour/test_slots.py::test_a_message_does_not_wait_for_the_messages_of_another_job",
    ),
    Mutant(
        "retention deletes as many rows at once as a store likes",
        "Maintenance.prune",
        "            limit=self.limits.recovery_page,\n",
        "",
        f"{EDGES}[recovery_page, rows past their retention-memory]",
    ),
    Mutant(
        "a start reads pages of another size",
        "Recovery.claims",
        "after, page = 0, self.limits.recovery_page",
        "after, page = 0, self.limits.recovery_page + 1",
        f"{EDGES}[recovery_page-memory]",
    ),
    Mutant(
        "a key is remembered for a moment too long",
        "remember",
        "expires_ms=inputs.now_ms + inputs.limits.idempotency_ttl_ms,",
        "expires_ms=inputs.now_ms + inputs.limits.idempotency_ttl_ms + 1,",
        f"{EDGES}[idempotency_ttl-memory]",
    ),
    Mutant(
        "while no requests arrive, alarms are read in pages for requests",
        "Alarms._read",
        "            limit *= READ_ALONE  # no request waits for this read\n",
        "            pass\n",
        f"{EDGES}[alarm_batch, without requests-memory]",
    ),
    Mutant(
        "a page of one more row is accepted",
        "_PAGE",
        "_whole(1, MAX_PAGE, default=100)",
        "_whole(1, MAX_PAGE + 1, default=100)",
        f"{RANGES}[Client.list limit]",
    ),
    Mutant(
        "one status or phase more is accepted",
        "check_wanted",
        "len(statuses) + len(given) > MAX_WANTED",
        "len(statuses) + len(given) > MAX_WANTED + 1",
        f"{RANGES}[Client.until phases]",
    ),
    Mutant(
        "a client that reads slowly has the time of an idle one",
        "Timeouts.of",
        'write_ms=duration_ms(limits.write_timeout, what="write_timeout")',
        'write_ms=duration_ms(limits.idle_timeout, what="idle_timeout")',
        f"{CLOSED}[write_timeout-GET / HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n-unread]",
    ),
    Mutant(
        "one list more is computed at once",
        "EngineApi.__attrs_post_init__",
        "            limit=limits.lists_at_once,\n            of_one=limits.lists_at_once,",
        "            limit=limits.lists_at_once + 1,\n            of_one=limits.lists_at_once + 1,",
        f"{TURNS}[lists_at_once-2-True]",
    ),
)
