"""Bugs in worker pools, and in the lanes that their items wait in."""

from mutant import Mutant

CALLS = "tests/kinds/test_worker_pool.py"
LIMITS = "tests/kinds/test_pool_limits.py"
TURNS = "engine/test_fair_turns.py"
RATES = "engine/test_rate_limit.py"
HANDLER = "kinds/worker_pool/handler.py"
FEEDER = "engine/lane_feeder.py"

MUTANTS = (
    Mutant(
        "an item that is done stays in its lane",
        HANDLER,
        "lane=None,\n        ended_ms=inputs.now_ms,",
        "ended_ms=inputs.now_ms,",
        f"{CALLS}::test_an_item_is_worked_on_and_its_result_is_kept[memory]",
    ),
    Mutant(
        "an item whose attempt failed stays in its lane",
        HANDLER,
        "return instance.changed(alarm_ms=None, lane=None)",
        "return instance.changed(alarm_ms=None)",
        f"{CALLS}::test_a_failed_attempt_is_retried_and_then_the_item_is_dead[memory]",
    ),
    Mutant(
        "a head start has no effect",
        HANDLER,
        "return max(0, from_instant_ms - data.head_start_ms)",
        "return max(0, from_instant_ms)",
        f"{CALLS}::test_a_head_start_overtakes_items_that_were_put_less_earlier[memory]",
    ),
    Mutant(
        "a delayed item forgets its key",
        HANDLER,
        "return answered(put(instance, inputs.now_ms, lane=data.key, alarm_ms=changed), None)",
        'return answered(put(instance, inputs.now_ms, lane="", alarm_ms=changed), None)',
        "tests/kinds/test_delayed_items.py"
        "::test_items_that_are_due_at_one_instant_take_turns_in_the_order_of_their_keys[memory-none]",
    ),
    Mutant(
        "an item that was paused while it ran stays paused when it is done",
        HANDLER,
        "        suspension=None,  # of a pause during its work\n",
        "",
        f"{CALLS}::test_an_item_that_is_paused_while_it_runs_ends_as_it_ends[memory-done]",
    ),
    Mutant(
        "an item whose result cannot be stored is retried",
        HANDLER,
        "        return result_not_stored(job, execute, problem, inputs)",
        "        raise problem",
        f"{CALLS}::test_an_item_whose_result_cannot_be_stored_is_dead_without_a_retry[memory-too large]",
    ),
    Mutant(
        "a dead item that on_dead took care of leaves no event",
        HANDLER,
        'events += log.optional(JobTerminated, reason="on_dead")',
        "pass",
        f"{CALLS}::test_a_dead_item_that_on_dead_takes_over_says_so_in_its_history[memory]",
    ),
    Mutant(
        "retries that on_error takes over end without an event",
        "jobs/run.py",
        "reason=None if job.plan.retry is None else reason)",
        "reason=None)",
        f"{CALLS}::test_a_dead_item_that_on_dead_takes_over_says_so_in_its_history[memory]",
    ),
    Mutant(
        "cancel deletes an item that runs",
        HANDLER,
        "if is_running(instance, inputs):\n        return reply(address, ItemCancelled",
        "if False:\n        return reply(address, ItemCancelled",
        f"{CALLS}::test_cancel_leaves_an_item_that_runs_or_is_done",
    ),
    Mutant(
        "put replaces an item that is there",
        HANDLER,
        "return _exists(instance) if instance is not None else _put(job, how, address, command, inputs)",
        "return _put(job, how, address, command, inputs)",
        f"{CALLS}::test_an_item_is_worked_on_and_its_result_is_kept[memory]",
    ),
    Mutant(
        "a lane that had its turn keeps it",
        "engine/fair_turns.py",
        "self._turn, known.turn = turn, turn + 1",
        "self._turn, known.turn = turn, turn",
        f"{TURNS}::test_no_lane_waits_for_more_than_one_run_of_each_other",
    ),
    Mutant(
        "a new instance overtakes those of its lane that are not in memory",
        "engine/fair_turns.py",
        'if known.rest == "some" and not (known.entries and entry < known.entries[-1]):',
        "if False:",
        f"{TURNS}::test_no_lane_waits_for_more_than_one_run_of_each_other",
    ),
    Mutant(
        "a new instance of a lane that was not read overtakes those in the store",
        "engine/fair_turns.py",
        """_Lane(lane, [], "some" if self.unread else "none", self._turn)\n        if known""",
        """_Lane(lane, [], "none", self._turn)\n        if known""",
        f"{TURNS}::test_no_instance_overtakes_an_older_one_that_is_not_in_memory",
    ),
    Mutant(
        "a lane that is read again keeps its instances in memory",
        "engine/fair_turns.py",
        'known.entries, known.rest = [], "some"\n        self._settle(known)',
        'known.rest = "some"\n        self._mark(known)',
        f"{CALLS}::test_an_item_that_was_fired_when_its_pool_was_held_begins_with_the_release[memory]",
    ),
    Mutant(
        "an item that was fired and not claimed is forgotten",
        FEEDER,
        'if self._phase == "open" and (isinstance(answer, Failure) or not left):',
        'if self._phase == "open" and isinstance(answer, Failure):',
        f"{CALLS}::test_an_item_that_was_fired_when_its_pool_was_held_begins_with_the_release[memory]",
    ),
    Mutant(
        "claims that a process left take no slot of their lane",
        FEEDER,
        """self.gate.hold_claim(address, lane, "doubted")\n\n    def _wants""",
        """pass\n\n    def _wants""",
        f"{LIMITS}::test_an_interrupted_item_is_delivered_before_the_next_one_of_its_key[memory]",
    ),
    Mutant(
        "the slot of a lane is free before the end of a run is stored",
        "engine/lane_limit.py",
        "            self._change_idle(self._claims[address], 1)\n        self._inside -= 1",
        "            pass\n        self._inside -= 1",
        f"{LIMITS}::test_no_item_begins_while_the_end_of_the_one_before_it_is_not_stored[memory]",
    ),
    Mutant(
        "a recovered run that waits for its key blocks all keys",
        "engine/lane_limit.py",
        "not any(self._may_enter(lane) for lane, _ in self._outside)",
        "not self._outside",
        f"{LIMITS}::test_a_recovered_run_that_waits_for_its_key_leaves_workers_to_the_others",
    ),
    Mutant(
        "a lane whose claim the store refused continues with the next item",
        FEEDER,
        "self.resting.add(lane)  # the",
        "pass  # the",
        "kinds/test_order_within_a_key.py::test_items_of_a_key_with_one_worker_keep_their_order_over_crashes[memory]",
    ),
    Mutant(
        "a lane has no slots of its own",
        "engine/lane_limit.py",
        "return self.lane_slots is not None and self.running(lane) + self._idle.get(lane, 0) >= self.lane_slots",
        "return False",
        f"{CALLS}::test_one_key_leaves_workers_to_the_others",
    ),
    Mutant(
        "a recovered run takes no slot of its lane",
        "engine/lane_limit.py",
        "        self._count(address, lane)\n\n    def leave_lane",
        '        self._count(address, "")\n\n    def leave_lane',
        f"{LIMITS}::test_a_recovered_run_takes_a_worker_of_its_key",
    ),
    Mutant(
        "a rate is not enforced",
        "engine/rate_limit.py",
        "return max(now_ms, self._begun[0] + self.rate.window_ms)",
        "return now_ms",
        f"{RATES}::test_no_window_holds_more_runs_than_the_rate",
    ),
    Mutant(
        "a restart allows a burst",
        "engine/rate_limit.py",
        "if self.from_ms is not None:",
        "if False:",
        f"{RATES}::test_a_new_limit_lets_no_burst_through",
    ),
    Mutant(
        "a held pool fires",
        FEEDER,
        'return self.name in self.holds.jobs or self._phase == "closed"',
        'return self._phase == "closed"',
        f"{CALLS}::test_a_held_pool_accepts_items_and_begins_none_also_after_a_restart[memory]",
    ),
    Mutant(
        "a lane whose slot is free again stays blocked",
        FEEDER,
        "        self.turns.unblock(lane)\n        self.wake.ring()",
        "        self.wake.ring()",
        f"{LIMITS}::test_workers_per_key_work_on_all_items_in_the_end",
    ),
    Mutant(
        "nothing wakes a lane whose rate has room again",
        FEEDER,
        "instants.append(self.lane_rates.next_ms())",
        "pass",
        f"{LIMITS}::test_a_rate_per_key_holds_for_each_key_alone",
    ),
    Mutant(
        "an item whose turn failed is forgotten",
        FEEDER,
        "            self._put_back(address, lane, answer)",
        "            pass",
        f"{LIMITS}::test_a_claim_that_the_store_refuses_is_tried_again",
    ),
    Mutant(
        "a lane ends with the first page",
        "stores/sqlite/queries.py",
        'rest="none" if len(rows) <= limit else "some"',
        'rest="none"',
        "tests/stores/test_conformance.py::test_the_store_keeps[lanes_come_in_order_with_their_first_ranks-SqliteHarness]",
    ),
    Mutant(
        "a new lane of the memory store goes to the end",
        "stores/memory/lanes.py",
        "insort(lanes.names, lane)",
        "lanes.names.append(lane)",
        "tests/stores/test_conformance.py::test_the_store_keeps[lanes_come_in_order_with_their_first_ranks-MemoryHarness]",
    ),
    Mutant(
        "the kept result of an item is shown with its secrets",
        "kinds/worker_pool/definition.py",
        "shown = self.keeping.results.redact(data.result.encode(), hide=hide).decode()",
        "shown = data.result",
        "tests/workflow/test_workflow_secrets.py"
        "::test_a_mark_on_the_whole_outcome_hides_it_in_steps_children_and_results",
    ),
)
