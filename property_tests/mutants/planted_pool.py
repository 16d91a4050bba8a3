"""Bugs in worker pools, and in the lanes that their items wait in."""

from mutant import Mutant

CALLS = "tests/kinds/test_worker_pool.py"
LIMITS = "tests/kinds/test_pool_limits.py"
TURNS = "engine/test_fair_turns.py"
RATES = "engine/test_rate_limit.py"
SHARED_RATES = "sharing/test_rates.py::test_no_window_holds_more_runs_than_the_rates_over_all_engines"
GATES = "engine/test_concurrency_limit_laws.py"
LANES = "engine/test_lane_limit_model.py"

MUTANTS = (
    Mutant(
        "a decorated hook is called before its run has begun",
        "hook",
        "if is_program_function(given):",
        'if getattr(given, "__wrapped__", None) is not None:',
        f"{CALLS}::test_a_work_that_raises_before_it_returns_a_program_fails_by_the_policy[memory-_decorated]",
    ),
    Mutant(
        "the next page of parked items begins again",
        "_waiting",
        'status="parked", after=begin), left,',
        'status="parked"), left,',
        "tests/cli/test_operating.py::test_a_file_at_rest_lists_its_parked_items",
    ),
    Mutant(
        "an item that is done stays in its lane",
        "succeeded",
        "lane=None,\n        ended_ms=inputs.now_ms,",
        "ended_ms=inputs.now_ms,",
        f"{CALLS}::test_an_item_is_worked_on_and_its_result_is_kept[memory]",
    ),
    Mutant(
        "an item whose attempt failed stays in its lane",
        "alarm_consumed",
        "return instance.changed(alarm_ms=None, lane=None)",
        "return instance.changed(alarm_ms=None)",
        f"{CALLS}::test_a_failed_attempt_is_retried_and_then_the_item_is_dead[memory]",
    ),
    Mutant(
        "a head start has no effect",
        "_rank_ms",
        "return max(0, from_instant_ms + inputs.ahead_ms - data.head_start_ms)",
        "return max(0, from_instant_ms + inputs.ahead_ms)",
        f"{CALLS}::test_a_head_start_overtakes_items_that_were_put_less_earlier[memory]",
    ),
    Mutant(
        "a delayed item forgets its key",
        "_queue",
        "lane=data.key",
        'lane=""',
        "tests/kinds/test_delayed_items.py"
        "::test_items_that_are_due_at_one_instant_take_turns_in_the_order_of_their_keys[memory-none]",
    ),
    Mutant(
        "an item that was paused while it ran stays paused when it is done",
        "succeeded",
        "        suspension=None,  # of a pause during its work\n",
        "",
        f"{CALLS}::test_an_item_that_is_paused_while_it_runs_ends_as_it_ends[memory-done]",
    ),
    Mutant(
        "an item whose result cannot be stored is retried",
        "succeeded",
        "        return result_not_stored(job, execute, problem, inputs)",
        "        raise problem",
        f"{CALLS}::test_an_item_whose_result_cannot_be_stored_is_dead_without_a_retry[memory-too large]",
    ),
    Mutant(
        "a failed item that on_error took care of leaves no event",
        "succeeded",
        'events += log.optional(JobTerminated, reason="on_error")',
        "pass",
        f"{CALLS}::test_a_parked_item_that_on_error_takes_over_says_so_in_its_history[memory]",
    ),
    Mutant(
        "retries that on_error takes over end without an event",
        "_given_up",
        "reason=None if job.plan.retry is None else reason)",
        "reason=None)",
        f"{CALLS}::test_a_parked_item_that_on_error_takes_over_says_so_in_its_history[memory]",
    ),
    Mutant(
        "cancel deletes an item that runs",
        "_cancel",
        "if is_running(instance, inputs):\n        return reply(address, ItemCancelled",
        "if False:\n        return reply(address, ItemCancelled",
        f"{CALLS}::test_cancel_leaves_an_item_that_runs_or_is_done",
    ),
    Mutant(
        "put replaces an item that is there",
        "begin",
        "return _exists(instance) if instance is not None else _put(job, how, address, request, inputs)",
        "return _put(job, how, address, request, inputs)",
        f"{CALLS}::test_an_item_is_worked_on_and_its_result_is_kept[memory]",
    ),
    Mutant(
        "a lane that had its turn keeps it",
        "FairQueue.take",
        "self._turn, known.turn = turn, turn + 1",
        "self._turn, known.turn = turn, turn",
        f"{TURNS}::test_no_lane_waits_for_more_than_one_run_of_each_other",
    ),
    Mutant(
        "a new instance overtakes those of its lane that are not in memory",
        "FairQueue.notice",
        'if known.rest == "some" and not (known.entries and entry < known.entries[-1]):',
        "if False:",
        f"{TURNS}::test_no_lane_waits_for_more_than_one_run_of_each_other",
    ),
    Mutant(
        "a new instance of a lane that was not read overtakes those in the store",
        "FairQueue._notice_lane",
        """_Lane(lane, [], "some" if self.unread else "none", self._turn)\n        if known""",
        """_Lane(lane, [], "none", self._turn)\n        if known""",
        f"{TURNS}::test_no_instance_overtakes_an_older_one_that_is_not_in_memory",
    ),
    Mutant(
        "a lane that is read again keeps its instances in memory",
        "FairQueue.reread",
        'known.entries, known.rest = [], "some"\n        self._settle(known)',
        'known.rest = "some"\n        self._mark(known)',
        f"{CALLS}::test_an_item_that_was_fired_when_its_pool_was_held_begins_with_the_release[memory]",
    ),
    Mutant(
        "an item that was fired and not claimed is forgotten",
        "LaneFeeder._answered",
        'if self._phase == "open" and (isinstance(answer, Failure) or not left):',
        'if self._phase == "open" and isinstance(answer, Failure):',
        f"{CALLS}::test_an_item_that_was_fired_when_its_pool_was_held_begins_with_the_release[memory]",
    ),
    Mutant(
        "claims that a process left take no slot of their lane",
        "LaneFeeder._take_claims",
        'self.gate.hold_claim(address, lane, "doubted")',
        "pass",
        f"{LIMITS}::test_an_interrupted_item_is_delivered_before_the_next_one_of_its_key[memory]",
    ),
    Mutant(
        "the slot of a lane is free before the end of a run is stored",
        "LaneLimit._return_slot",
        "            self._change_idle(self._claims[address], 1)\n        self._inside -= 1",
        "            pass\n        self._inside -= 1",
        f"{LIMITS}::test_no_item_begins_while_the_end_of_the_one_before_it_is_not_stored[memory]",
    ),
    Mutant(
        "a recovered run that waits for its key blocks all keys",
        "LaneLimit.has_slot",
        "return self._inside < self.slots",
        "return self._inside < self.slots and not self._outside",
        f"{LIMITS}::test_a_recovered_run_that_waits_for_its_key_leaves_workers_to_the_others",
    ),
    Mutant(
        "a recovered run that waits for its rate keeps its slot",
        "LaneLimit.enter_lane",
        "                await self.rated.wait_for_rate(lane)\n            await self._take_slot(address, lane)\n",
        "                await self._take_slot(address, lane)\n                await self.rated.wait_for_rate(lane)\n"
        "                self._return_slot(address)\n            await self._take_slot(address, lane)\n",
        f"{LIMITS}::test_a_recovered_run_that_waits_for_its_rate_keeps_no_worker_from_the_others",
    ),
    Mutant(
        "a run that gives up as a slot is handed to it keeps the slot",
        "LaneLimit._take_slot",
        "self._return_slot(address)  # the slot was",
        "pass  # the slot was",
        f"{LANES}::TestLaneLimit",
    ),
    Mutant(
        "a returned slot goes to a run of a full lane",
        "LaneLimit._hand_over",
        "if not run.entered.done() and self._may_enter(run.lane):",
        "if not run.entered.done():",
        f"{LANES}::test_a_returned_slot_waits_for_a_run_whose_lane_has_room",
    ),
    Mutant(
        "a returned slot goes to the run that came last",
        "LaneLimit._hand_over",
        "for run in self._outside:",
        "for run in reversed(self._outside):",
        f"{LANES}::test_runs_of_a_lane_enter_in_the_order_of_their_arrival",
    ),
    Mutant(
        "an alarm beside a run takes the slot of its claim twice",
        "LaneLimit._count",
        "        if address in self._claims and address not in self._inside_at:\n            self._change",
        "        if address in self._claims:\n            self._change",
        f"{LANES}::test_an_alarm_beside_a_run_leaves_the_slot_of_its_claim",
    ),
    Mutant(
        "a lane whose claim the store refused continues with the next item",
        "LaneFeeder._put_back",
        "            self.resting.add(lane)\n",
        "            pass\n",
        "kinds/test_order_within_a_key.py::test_items_of_a_key_with_one_worker_keep_their_order_over_crashes[memory]",
    ),
    Mutant(
        "a lane has no slots of its own",
        "LaneLimit.is_full",
        "return self.lane_slots is not None and self.running(lane) + self._idle.get(lane, 0) >= self.lane_slots",
        "return False",
        f"{CALLS}::test_one_key_leaves_workers_to_the_others",
    ),
    Mutant(
        "a recovered run takes no slot of its lane",
        "LaneLimit._take_slot",
        "            self._count(address, lane)\n            return\n",
        '            self._count(address, "")\n            return\n',
        f"{LIMITS}::test_a_recovered_run_takes_a_worker_of_its_key",
    ),
    Mutant(
        "a rate is not enforced",
        "RateLimit.free_ms",
        "return max(now_ms, begun[-free] + self.rate.window_ms)",
        "return now_ms",
        f"{RATES}::test_no_window_holds_more_runs_than_the_rate",
    ),
    Mutant(
        "a restart begins a rate again",
        "StoredRates._take_over",
        "                self.rate.restore(begun)\n",
        "                pass\n",
        f"{LIMITS}::test_restarts_neither_stop_a_rate_nor_begin_it_again[memory]",
    ),
    Mutant(
        "a restart begins the rate of a key again",
        "StoredRates._take_over",
        "self.lanes.restore(lane, begun)",
        "self.lanes.restore(lane, ())",
        f"{LIMITS}::test_restarts_do_not_begin_a_rate_per_key_again[memory]",
    ),
    Mutant(
        "a run begins before the store counts it",
        "LaneFeeder._record",
        "            failures = await rates.record(lanes)",
        "            failures = {}",
        "kinds/test_rates_over_restarts.py::test_no_window_holds_more_runs_than_the_rates_whatever_crashes[memory]",
    ),
    Mutant(
        "a rate does not count the runs of other engines",
        "StoredRates._write",
        "if self.store.sharing is not None else None",
        "if self.store.sharing is None else None",
        f"{SHARED_RATES}[none-100-0]",
    ),
    Mutant(
        "an engine begins its runs after it has read that others have the places",
        "StoredRates._store",
        "if not limit.is_kept(self.runtime.monotonic_ms()):",
        "if limit.rate.runs < 0:",
        f"{SHARED_RATES}[none-100-0]",
    ),
    Mutant(
        "an engine drops the runs that others have stored",
        "StoredRates._write",
        "if part[0] + rate.window_ms > wall_ms]",
        "if part[0] + rate.window_ms < wall_ms]",
        f"{SHARED_RATES}[none-100-0]",
    ),
    Mutant(
        "the workers of a pool take every slot of the engine",
        "_gates",
        "min(wanted, slots_of(limits.concurrency, len(jobs), job))",
        "wanted",
        f"{LIMITS}::test_a_pool_with_more_workers_than_slots_leaves_slots_to_other_jobs",
    ),
    Mutant(
        "a recovered run is not counted",
        "LaneFeeder.begin",
        "self.rates.begin(lane)\n",
        "self.rates.free_place(lane)\n",
        f"{LIMITS}::test_a_recovered_run_counts_as_one_that_begins[memory]",
    ),
    Mutant(
        "a rate counts a run before it waits for a slot of the engine",
        "ConcurrencyLimits._enter_by_lane",
        """                await self.engine.enter(company, job)
        except BaseException:  # as in `enter`: the lane's slot, and the place in its rate
            limit.give_up(address, entered)
            raise
        try:
            await limit.begin_recorded(address, entered)
        except BaseException:  # the limit has returned its own slot by then
            self._leave_engine(job, company, address)
""",
        """                await limit.begin_recorded(address, entered)
                await self.engine.enter(company, job)
        except BaseException:
""",
        f"{GATES}::test_a_rate_counts_runs_when_they_begin_behind_all_waits",
    ),
    Mutant(
        "a run that gives up while it waits for a slot keeps its place in the rate",
        "LaneLimit.give_up",
        "        self.rated.free_place(lane)\n        self.leave_lane(address)",
        "        self.leave_lane(address)",
        f"{GATES}::test_a_rate_counts_runs_when_they_begin_behind_all_waits",
    ),
    Mutant(
        "the place of a run that waits for a slot leaves the window",
        "RateLimit.free_ms",
        "free = self.rate.runs - self.waiting",
        "free = self.rate.runs",
        f"{RATES}::test_a_run_keeps_its_place_in_the_rate_however_long_it_waits",
    ),
    Mutant(
        "a run that waited for a slot is stored with the time before the wait",
        "LaneLimit.begin_recorded",
        "            await self.rated.record(lane)\n",
        "            pass\n",
        "kinds/test_rates_over_restarts.py::test_no_window_holds_more_runs_than_the_rates_whatever_crashes[memory]",
    ),
    Mutant(
        "a recovered run does not wait for the rate",
        "LaneFeeder.is_limited",
        "return self.rates.free_ms(lane, now_ms) > now_ms",
        "return False",
        "kinds/test_rates_over_restarts.py::test_no_window_holds_more_runs_than_the_rates_whatever_crashes[memory]",
    ),
    Mutant(
        "a held pool fires",
        "LaneFeeder._is_held",
        'return self.name in self.holds.jobs or self._phase == "closed"',
        'return self._phase == "closed"',
        f"{CALLS}::test_a_held_pool_accepts_items_and_begins_none_also_after_a_restart[memory]",
    ),
    Mutant(
        "a lane whose slot is free again stays blocked",
        "LaneFeeder.freed",
        "        self.queue.unblock(lane)\n        self.wake.notify()",
        "        self.wake.notify()",
        f"{LIMITS}::test_workers_per_key_work_on_all_items_in_the_end",
    ),
    Mutant(
        "nothing wakes a lane whose rate has room again",
        "LaneFeeder._wake_ms",
        "[self.rates.lanes.next_ms(), self.rates.look_ms(now_ms)]",
        "[self.rates.look_ms(now_ms)]",
        f"{LIMITS}::test_a_rate_per_key_holds_for_each_key_alone",
    ),
    Mutant(
        "an item whose turn failed is forgotten",
        "LaneFeeder._answered",
        "            self._put_back(address, lane, answer)",
        "            pass",
        f"{LIMITS}::test_a_claim_that_the_store_refuses_is_tried_again",
    ),
    Mutant(
        "a lane ends with the first page",
        "_lane",
        'rest="none" if len(rows) <= limit else "some"',
        'rest="none"',
        "tests/stores/test_conformance.py::test_the_store_keeps[lanes_come_in_order_with_their_first_ranks-SqliteHarness]",
    ),
    Mutant(
        "a new lane of the memory store goes to the end",
        "LaneIndex._add",
        "insort(lanes.names, lane)",
        "lanes.names.append(lane)",
        "tests/stores/test_conformance.py::test_the_store_keeps[lanes_come_in_order_with_their_first_ranks-MemoryHarness]",
    ),
    Mutant(
        "the kept result of an item is shown with its secrets",
        "WorkerPool.redacted_data",
        "shown = self.policy.results.redact(data.result.encode(), hide=hide).decode()",
        "shown = data.result",
        "tests/workflow/test_workflow_secrets.py"
        "::test_a_mark_on_the_whole_outcome_hides_it_in_steps_children_and_results",
    ),
    Mutant(
        "the count of a pool whose lanes cannot be read says that no item waits",
        "LaneFeeder.oldest",
        "return Failure(names.failure())",
        "return Success(None)",
        "tests/behaviour/test_failed_reads.py"
        "::test_a_read_answers_the_error_of_the_store_or_as_it_does_otherwise[count]",
    ),
    Mutant(
        "an engine forgets how far the clock of the one before had run",
        "LaneFeeder.start",
        "self.gate.clock.start(last_rank_ms)",
        "self.gate.clock.start(None)",
        f"{CALLS}::test_items_keep_their_order_and_wait_for_nothing_after_the_clock_went_back[memory-crash]",
    ),
    Mutant(
        "a queued item waits until the clock has come to its place in line",
        "_is_due",
        "return instance.rank_ms is not None",
        "return instance.rank_ms is not None and instance.rank_ms <= inputs.now_ms",
        f"{CALLS}::test_items_keep_their_order_and_wait_for_nothing_after_the_clock_went_back[memory-no restart]",
    ),
    Mutant(
        "the clock of the line stands still until the wall clock has come to it",
        "LaneClock.ahead_ms",
        "int(monotonic_ms - self._since_ms)",
        "0",
        f"{CALLS}::test_head_starts_delays_and_retries_follow_one_clock_after_it_went_back[memory]",
    ),
    Mutant(
        "an item that was triggered overtakes those in line after the clock went back",
        "_ranked",
        "at_ms=from_instant_ms + inputs.ahead_ms",
        "at_ms=from_instant_ms",
        f"{CALLS}::test_head_starts_delays_and_retries_follow_one_clock_after_it_went_back[memory]",
    ),
)
