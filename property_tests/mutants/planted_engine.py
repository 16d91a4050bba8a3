"""Bugs in alarms, messages and mailboxes."""

from mutant import Mutant

PAIR = "behaviour/test_order_laws.py::test_messages_of_a_pair_arrive_once_and_in_order"
REQUESTS = "behaviour/test_order_laws.py::test_requests_under_way_together_are_applied_in_their_order"
TIMER_QUEUE = "engine/test_timer_queue.py"
BURST = "tests/behaviour/test_burst_of_alarms.py"
TURNS = "tests/behaviour/test_common_turns.py"
FOLDS = "engine/test_fold_laws.py::test_requests_of_one_moment_are_as_requests_one_after_the_other"
LEFT = "engine/test_fold_laws.py::test_a_turn_that_comes_while_others_are_written_is_decided_after_them"
CONFLICT = f"{TURNS}::test_a_conflict_before_any_effect_begins_the_turn_again"
RULES = "tests/behaviour/test_cell_rules.py"
KEPT = f"{RULES}::test_turns_of_each_kind_keep_the_rules"

MUTANTS = (
    Mutant(
        "an ended run leaves its cell busy",
        "Dispatcher._run_ended",
        '            cell.state = "idle"\n            if type(verdict)',
        "            if type(verdict)",
        KEPT,
    ),
    Mutant(
        "an idle instance remains among the busy ones",
        "Dispatcher._make_idle",
        "            self.busy.forget(cell)\n",
        "            pass\n",
        KEPT,
    ),
    Mutant(
        "an idle instance keeps its empty queue",
        "Dispatcher._make_idle",
        "        cell.waiting = NOTHING_WAITS\n",
        "",
        KEPT,
    ),
    Mutant(
        "a request that is answered remains counted",
        "Dispatcher._end",
        "            self._uncount(entry)\n",
        "            pass\n",
        KEPT,
    ),
    Mutant(
        "a world asserts nothing of its engine",
        "Worker.open",
        "        self.simulation.before_step = partial(self._assert_legal, LegalState(), engine)\n",
        "",
        f"{RULES}::test_a_world_reports_a_cell_that_is_busy_with_nothing",
    ),
    Mutant(
        "a message is buried at its first defect",
        "_fate",
        "if deliveries % most == 0:",
        "if deliveries >= 1:",
        PAIR,
    ),
    Mutant(
        "requests are taken last in, first out",
        "InstanceCell.put",
        "self.waiting.append(entry)",
        "self.waiting.appendleft(entry)",
        REQUESTS,
    ),
    Mutant(
        "an alarm that is set while the store is read is lost",
        "TimerQueue.add",
        "            self._added_since.append((address, due_ms))",
        "            pass",
        f"{TIMER_QUEUE}::test_after_a_round_nothing_due_is_left",
    ),
    Mutant(
        "alarms that the store has are passed over after a doubt",
        "TimerQueue.doubt",
        "        self._is_bound = False\n",
        "",
        f"{TIMER_QUEUE}::test_after_a_round_nothing_due_is_left",
    ),
    Mutant(
        "a failed read tells when the next alarm is due",
        "TimerQueue.give_up_reading",
        "is_bound=False",
        "is_bound=True",
        f"{TIMER_QUEUE}::test_alarms_behind_a_failed_read_are_read",
    ),
    Mutant(
        "an alarm begins no run",
        "TimerQueue.add",
        "self.next_ms = min(self.next_ms, due_ms)",
        "self.next_ms = max(self.next_ms, due_ms)",
        f"{TIMER_QUEUE}::test_after_a_round_nothing_due_is_left",
    ),
    Mutant(
        "a request behind a commit in doubt never begins",
        "Dispatcher._continue",
        "        if cell.waiting:\n            self._serve_later(cell)\n        else:\n",
        "        if cell.waiting:\n            self._make_idle(cell)\n        else:\n",
        f"{TURNS}::test_events_that_come_while_one_is_committed_are_handled_after_it",
    ),
    Mutant(
        "a conflict is an answer",
        "Dispatcher._on_committed",
        "                if isinstance(stored.failure(), Conflict):\n"
        "                    self._again(cell, [entry for entry, _ in pending.steps])\n"
        "                    return\n",
        "",
        CONFLICT,
    ),
    Mutant(
        "a turn is decided on the outcome of turns that have left",
        "PendingCommit.may_take",
        '            self.state == "open"\n            and',
        "           ",
        LEFT,
    ),
    Mutant(
        "the events of a folded turn are lost",
        "coalesced",
        "events=first.events + second.events if second.events else first.events,",
        "events=second.events,",
        FOLDS,
    ),
    Mutant(
        "a row that conflicts in a group is taken for written",
        "ChangeGroup._update",
        ".rowcount != len(updates):\n            raise RowsDiffer",
        ".rowcount != len(updates):\n            pass",
        "tests/stores/test_conformance_grouped.py"
        "::test_a_row_that_conflicts_among_rows_that_are_overwritten_fails_alone",
    ),
    Mutant(
        "the row of a commit that failed is kept",
        "InstanceCache.on_answer",
        "        if not isinstance(answer, Success):\n            self.doubt(cell)\n",
        "        if not isinstance(answer, Success):\n            pass\n",
        "tests/behaviour/test_residents.py::test_after_a_conflict_the_row_is_read_again[memory]",
    ),
    Mutant(
        "an update of one row checks no fence",
        "_overwrite",
        "        return update.fence if cursor.execute(update.sql, update.values).rowcount == 1 else None\n    before",
        "        cursor.execute(update.sql, update.values)\n        return update.fence\n    before",
        "tests/stores/test_conformance_grouped.py"
        "::test_a_row_that_conflicts_among_rows_that_are_overwritten_fails_alone",
    ),
    Mutant(
        "alarms leave no room for requests",
        "AlarmWindow._limit",
        'return self._size if self.company == "requests" else max(self._size, self.sizes.alarm_window_alone)',
        "return max(self._size, self.sizes.alarm_window_alone)",
        f"{BURST}::test_a_request_waits_for_some_of_the_alarms_and_not_for_all",
    ),
    Mutant(
        "alarms leave room for requests that do not come",
        "AlarmWindow._limit",
        'return self._size if self.company == "requests" else max(self._size, self.sizes.alarm_window_alone)',
        "return self._size",
        f"{BURST}::test_alarms_run_in_large_groups_without_requests",
    ),
    Mutant(
        "a request that its caller cancelled never ends for sinks",
        "MailboxEntry.reply_early",
        '        elif self.report is not None:\n            self.report.ended("cancelled")\n',
        "",
        "behaviour/test_live_event_laws.py::test_live_events_are_consistent",
    ),
    Mutant(
        "a hook inside an effect of another run sees that run",
        "outside_runs",
        "return None if _current.get() is None else _current.set(None)",
        "return None",
        "behaviour/test_run_context_laws.py::test_no_code_sees_the_run_of_other_code",
    ),
    Mutant(
        "a step of a run leaves its context behind",
        "InRun.send",
        "            return self._inner.send(value)\n        finally:\n            _current.reset(before)\n",
        "            return self._inner.send(value)\n        finally:\n            pass\n",
        "behaviour/test_run_context_laws.py::test_no_code_sees_the_run_of_other_code",
    ),
    Mutant(
        "an event with an effect forgets its caller",
        "event_claim",
        "    claim.by = request.by\n",
        "    claim.by = None\n",
        "tests/server/test_callers_in_events.py::test_events_name_the_token_of_a_call",
    ),
    Mutant(
        "a commit of the outbox takes the time since the machine was started",
        "Outbox._write",
        "took_ms=self.runtime.monotonic_ms() - began_ms)",
        "took_ms=began_ms)",
        "behaviour/test_live_event_laws.py::test_live_events_are_consistent",
    ),
    Mutant(
        "a group behind a full one takes the time from the first request of that",
        "StoreBatcher.add",
        "if len(waiting) % self.largest == 0:\n            self._begun_ms.append(self.runtime.monotonic_ms())",
        "if len(waiting) % self.largest == 0:\n            self._begun_ms.append(self._begun_ms[0] if self._begun_ms "
        "else self.runtime.monotonic_ms())",
        "tests/behaviour/test_shared_flights.py::test_each_group_takes_the_time_from_its_own_first_request",
    ),
    Mutant(
        "after a failover an instance is still known not to exist",
        "InstanceCache.doubt_all",
        "for cell in self.all_cells():",
        "for cell in tuple(self._line):",
        "engine/test_resident_laws.py::test_a_row_is_the_one_kept_last_and_the_bound_holds_at_rest",
    ),
    Mutant(
        "a row that was being read at a failover is kept",
        "InstanceCache.doubt_all",
        "        self._reads.clear()\n",
        "        self._reads.copy()\n",
        "engine/test_resident_laws.py::test_a_row_that_changed_during_a_read_is_not_replaced_by_it",
    ),
    Mutant(
        "folded turns leave their row in memory with the version before",
        "InstanceCache.on_answer",
        "fence = Fence(expected.incarnation, expected.version + 1)",
        "fence = expected",
        "engine/test_kept_rows.py::test_an_engine_keeps_the_rows_of_its_file",
    ),
    Mutant(
        "a message whose run is in progress is buried",
        "Outbox._bury",
        "if await self._fenced(transition) is None or pair in self._under_way:",
        "if pair in self._under_way:",
        "tests/behaviour/test_messages.py::test_a_message_whose_run_is_left_in_progress_is_not_buried[memory]",
    ),
    Mutant(
        "a buried message stays left",
        "buried",
        "fate = DeadLettered(message_id=stored.message_id, deliveries=stored.deliveries, error=error)\n    transition",
        "fate = Postponed(message_id=stored.message_id, deliveries=0, not_before_ms=0, error=error)\n    transition",
        "tests/behaviour/test_messages.py::test_a_left_message_is_buried_and_the_next_one_of_its_pair_is_delivered[memory]",
    ),
    Mutant(
        "only the first of the messages that share a commit is consumed",
        "coalesced",
        "consumed=first.consumed + more if more else first.consumed,",
        "consumed=first.consumed,",
        "tests/behaviour/test_messages.py::test_messages_of_many_senders_to_one_instance_share_commits[sqlite]",
    ),
)
