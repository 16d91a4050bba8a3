"""Bugs that leave something behind in the engine: places, counters, timers, tasks, callers without an answer."""

from mutant import Mutant

CROWDS = "behaviour/test_crowds.py::test_callers_that_stay_are_served_and_nothing_remains"
GATE = "engine/test_concurrency_limit_laws.py::test_places_are_bounded_fair_and_never_lost"
LET_IN = "engine/test_concurrency_limit_laws.py::test_a_run_that_gives_up_as_it_is_let_in_keeps_no_place"
ADMISSION = "engine/test_concurrency_limit_laws.py::test_a_finished_call_admits_the_first_caller_that_still_waits"
STOPPED = "behaviour/test_cancel_sweep.py::test_the_engine_is_stopped_anywhere"
LOST = "behaviour/test_doubt.py::test_a_lost_answer_heals_without_a_restart"
GIVEN_UP = "behaviour/test_doubt.py::test_a_lost_answer_leaves_nothing_undone_if_its_caller_gives_up"
LOST_AT_STOP = "behaviour/test_doubt.py::test_answers_that_are_lost_during_a_stop_leave_nothing_behind"
ACCEPTED = "tests/behaviour/test_accepted_in_events.py::"
BATCHED = "tests/behaviour/test_event_batches.py"
ANSWERED = "tests/behaviour/test_every_caller_is_answered.py"
LAWS = "tests/testing/test_machine_laws.py::test_a_violation_of_one_law_is_reported_by_that_law_only"
SLOTS_OF_POOLS = (
    "tests/behaviour/test_slots.py"
    "::test_an_event_with_an_effect_does_not_wait_for_the_long_runs_of_another_job[pools-8]"
)
SHARED_SLOTS = (
    "engine/test_concurrency_limit_laws.py"
    "::test_jobs_without_a_run_have_slots_and_the_others_go_to_the_job_with_the_fewest"
)
SLOTS = "tests/behaviour/test_slots.py::"
PAIRS = "behaviour/test_feature_pairs.py::"
LIMITS = "behaviour/test_limits.py::"
RECOVERED = LIMITS + "test_every_run_is_recovered_whichever_page_it_is_on"
REPAIRS = "behaviour/test_repairs.py::test_each_instance_can_be_repaired"
LEFT = LIMITS + "test_every_instance_that_is_left_is_taken_up_whichever_page_it_is_on"
GAVE_UP = "behaviour/test_cancel_sweep.py::test_a_caller_gives_up_anywhere"

MUTANTS = (
    Mutant(
        "a run that stops waiting as it is let in keeps its place",
        "ConcurrencyLimit.enter",
        "                self.leave(company, job)",
        "                pass",
        LET_IN,
    ),
    Mutant(
        "a newcomer overtakes a run that must go alone",
        "ConcurrencyLimit.try_enter",
        """elif self._lone or self._alone == "running" or (""",
        """elif self._alone == "running" or (""",
        GATE,
    ),
    Mutant(
        "the gate of a job keeps the place of a run that gave up before the engine's",
        "ConcurrencyLimits.enter",
        "            self._leave_job(job, address)\n            raise",
        "            raise",
        GATE,
    ),
    Mutant(
        "a run that goes alone leaves the gate locked",
        "ConcurrencyLimit.leave",
        '            self._alone = "none"\n        if self',
        "            pass\n        if self",
        GATE,
    ),
    Mutant(
        "a job with a run takes the slots that are kept for others",
        "ConcurrencyLimit.try_enter",
        "(self._kept if used else 0)",
        "0",
        SHARED_SLOTS,
    ),
    Mutant(
        "a job that has no run any more has no slot kept",
        "ConcurrencyLimit.leave",
        "            self._idle += 1",
        "            pass",
        SLOTS_OF_POOLS,
    ),
    Mutant(
        "a returned slot goes to the run that came first, whatever its job has",
        "ConcurrencyLimit._next",
        "(self._used[run.job], run.number, run.job)",
        "(0, run.number, run.job)",
        SHARED_SLOTS,
    ),
    Mutant(
        "runs of one job with many slots starve the others",
        "reserve_of",
        "return min(jobs - 1, max(1, slots // MOST_KEPT), slots - 1)",
        "return 0",
        f"{SLOTS}test_an_event_with_an_effect_does_not_wait_for_the_long_runs_of_another_job[events-8]",
    ),
    Mutant(
        "a job that wants more slots than it can have is no warning",
        "too_many_runs",
        "if wanted[job] > slots[job]",
        "if wanted[job] > limits.concurrency",
        f"{SLOTS}test_a_job_that_can_never_have_its_runs_is_a_warning_and_a_sentence_of_check[16-16-15]",
    ),
    Mutant(
        "those behind a lone run that gives up wait on",
        "ConcurrencyLimit.enter",
        "                self._admit_waiting()  # those behind",
        "                pass  # those behind",
        "engine/test_concurrency_limit_laws.py::test_those_behind_a_run_that_gives_up_going_alone_come_in_at_once",
    ),
    Mutant(
        "a caller that gives up when called admits no other",
        "AdmissionQueue.wait",
        "                self.call(before)\n            raise",
        "                pass\n            raise",
        ADMISSION,
    ),
    Mutant(
        "a request that was taken back is counted for ever",
        "Dispatcher._leaves_queue",
        "        entry.note_cancelled()\n        self._uncount(entry)",
        "        entry.note_cancelled()",
        CROWDS,
    ),
    Mutant(
        "a run that is interrupted before it began keeps its place",
        "RunExecutor._return_slot",
        'if run.slot == "held":',
        'if run.slot == "held" and not run.cell.is_interrupted:',
        "tests/behaviour/test_common_ending.py::test_interrupt_cancels_an_event_first[memory-busy0]",
    ),
    Mutant(
        "a run that ended keeps its timer",
        "TimeLimit.__await__",
        "            self._timer.cancel()",
        "            pass",
        STOPPED + "[task: next event with effects-before]",
    ),
    Mutant(
        "a run beside the mailbox keeps its place",
        "RunExecutor._return_to_mailbox",
        "        self._return_slot(run)\n",
        "",
        GAVE_UP + "[debounce: a flush by hand-before]",
    ),
    Mutant(
        "an alarm that was cut by the stop is tried again in a second",
        "Alarms._answered",
        'if type(answer) is Failure and self._phase == "open":',
        "if type(answer) is Failure:",
        ANSWERED + "::test_an_alarm_that_the_stop_cuts_is_not_tried_again_by_this_engine[memory]",
    ),
    Mutant(
        "a turn whose row is being read when the engine stops is not answered",
        "InstanceCell.leave",
        "            self.undecided.reply(Failure(EngineClosed()))\n",
        "",
        ANSWERED + "::test_a_caller_whose_row_is_being_read_when_the_engine_stops[memory]",
    ),
    Mutant(
        "a row that is read after the engine stopped is handled",
        "Dispatcher._loaded",
        "        if cell.undecided is not entry:",
        "        if not cell:",
        ANSWERED + "::test_a_row_that_is_read_after_its_caller_was_answered_changes_nothing[memory]",
    ),
    Mutant(
        "a defect while a job is accepted with its claim answers its alarm only",
        "RunExecutor._end",
        "entry, run.accepting = run.accepting, None",
        "run.accepting = None",
        ANSWERED + "::test_a_defect_while_a_job_is_accepted_with_its_claim[memory]",
    ),
    Mutant(
        "an event that waits for the end of its step passes an earlier request that is decided again",
        "Dispatcher._again",
        "        self.cache.note_conflict(entries)\n        cell.queue_undecided()\n",
        "        self.cache.note_conflict(entries)\n",
        BATCHED + "::test_an_event_stays_behind_an_earlier_request_that_is_decided_again",
    ),
    Mutant(
        "handlers run in the context of a caller",
        "EventBatch._end_step",
        "self._context.copy().run(self._decide, batch)",
        "self._decide(batch)",
        BATCHED + "::test_a_handler_does_not_see_the_context_of_a_caller",
    ),
    Mutant(
        "a context variable that a handler sets remains for all later events",
        "EventBatch._end_step",
        "self._context.copy().run(",
        "self._context.run(",
        BATCHED + "::test_a_variable_that_a_handler_sets_reaches_no_later_step",
    ),
    Mutant(
        "a defect in one answer of a pending commit keeps the others from theirs",
        "Dispatcher._on_committed",
        "            self._conclude(cell, entry, result or commit.result)",
        "            self._answer(cell, entry, result or commit.result)\n            self._uncount(entry)",
        ANSWERED + "::test_a_defect_in_one_turn_of_several_that_share_a_commit[memory]",
    ),
    Mutant(
        "a turn that the store refuses costs the turns of its pending commit",
        "taken_apart",
        "    pending.steps.clear()",
        "    return []",
        "engine/test_fold_laws.py::test_a_turn_that_the_store_refuses_costs_no_neighbour_its_own",
    ),
    Mutant(
        "the outcome of a message is waited for although the store does not answer",
        "RunningEngine._leave_behind",
        "        self.outbox.abandon()\n",
        "",
        ANSWERED + "::test_the_engine_stops_while_the_store_does_not_write_the_outcome_of_a_message[memory]",
    ),
    Mutant(
        "who waits in a mailbox when the engine stops is not answered",
        "InstanceCell.close_intake",
        "            if not entry.is_end:\n                entry.reply(Failure(EngineClosed()))",
        "            pass",
        STOPPED + "[task: a terminate during a run-before]",
    ),
    Mutant(
        "a stopped engine looks after a claim in a second",
        "Dispatcher.claim_left",
        '        if self.intake == "open":  # otherwise the next start recovers it\n',
        "        if True:\n",
        LOST_AT_STOP + "[task: next event with effects-after]",
    ),
    Mutant(
        "a stopped engine offers a message again in a second",
        "Outbox.close",
        """            timer.cancel()
            self._settled(pair)""",
        "            pass",
        ANSWERED + "::test_a_message_of_unknown_outcome_is_not_offered_again_by_an_engine_that_stops[memory]",
    ),
    Mutant(
        "a claim of unknown outcome is forgotten",
        "Runner.recorded",
        """                if isinstance(refused.failure(), OutcomeUnknown):
                    self.left_claimed(cell)
""",
        "",
        GIVEN_UP + "[task: next event with effects-after]",
    ),
    Mutant(
        "a run whose end is of unknown outcome is forgotten",
        "Runner.settled",
        """                self.left_claimed(cell)
                return TurnAnswered(Failure(not_stored(error)))""",
        "                return TurnAnswered(Failure(not_stored(error)))",
        GIVEN_UP + "[task: next event with effects-before]",
    ),
    Mutant(
        "effects of a commit of unknown outcome are not looked for",
        "RunningEngine.doubt",
        """        self.alarms.doubt()
        self.cache.others_wrote()
        for feeder in self._feeding.values():
            feeder.doubt()
        self.waits.doubt()
        self.outbox.wake.notify()
""",
        "",
        LOST + "[task: a keyed event that tells, and begins an instance-after]",
    ),
    Mutant(
        "recovery reads only its first page",
        "Recovery.claims",
        "            after = rows[-1].incarnation\n",
        "            break\n",
        RECOVERED + "[0-6]",
    ),
    Mutant(
        "only the first page of left instances is taken up",
        "TakingUp.run",
        'if found == "nothing" and not self.others:',
        "if not self.others:",
        LEFT + "[6]",
    ),
    Mutant(
        "a page of instances of other jobs ends the recovery",
        "Recovery.claims",
        "            recovered += self._post(tuple(filter(self.recovers, rows)))\n",
        "            recovered += self._post(tuple(filter(self.recovers, rows)))\n"
        "            if not recovered:\n                break\n",
        RECOVERED + "[5-1]",
    ),
    Mutant(
        "a full engine refuses messages",
        "overload",
        "if pending >= limits.max_pending and entry.request.inbound is None:",
        "if pending >= limits.max_pending:",
        LIMITS + "test_a_full_engine_refuses_requests_and_takes_alarms_and_messages",
    ),
    Mutant(
        "a mailbox takes one request more than its limit",
        "overload",
        "if cell is not None and len(cell.waiting) >= limits.mailbox_size:",
        "if cell is not None and len(cell.waiting) > limits.mailbox_size:",
        LIMITS + "test_a_mailbox_takes_as_many_as_its_limit",
    ),
    Mutant(
        "a turn sends one message more than its limit",
        "Draft.send",
        "if len(self.messages) >= self.limits.messages_per_turn:",
        "if len(self.messages) > self.limits.messages_per_turn:",
        LIMITS + "test_a_turn_sends_as_many_messages_as_its_limit",
    ),
    Mutant(
        "a value may have one byte more than its limit",
        "within",
        "if len(data) > max_bytes:",
        "if len(data) > max_bytes + 1:",
        LIMITS + "test_a_value_may_have_as_many_bytes_as_its_limit",
    ),
    Mutant(
        "a started state is not measured",
        "_start",
        "    refused = too_large(request.payload, inputs.limits.state_bytes, what=job.plan.state.what)\n",
        "    refused = None\n",
        LIMITS + "test_a_value_may_have_as_many_bytes_as_its_limit",
    ),
    Mutant(
        "alarms of one instant that did not fit into a reading are skipped",
        "Alarms._read",
        "self._take(rows, (last_ms, rows[-1].incarnation))",
        "self._take(rows, end_of(last_ms))",
        LIMITS + "test_every_alarm_fires_in_its_time_however_few_are_read_at_once",
    ),
    Mutant(
        "an alarm that did not fit into a reading fires late",
        "Alarms._read",
        "self._timers.end_reading(last_ms)\n                await",
        "self._timers.end_reading(last_ms + 1)\n                await",
        LIMITS + "test_every_alarm_fires_in_its_time_however_few_are_read_at_once",
    ),
    Mutant(
        "an address holds one key more than its limit",
        "replay",
        "if loaded.keys_held >= inputs",
        "if loaded.keys_held > inputs",
        "behaviour/test_keys_laws.py::test_a_key_is_applied_once_within_its_window",
    ),
    Mutant(
        "a parked instance says when it last changed instead of when it was parked",
        "report_status",
        "instance.suspended_ms if instance.suspension else None",
        "instance.updated_ms if instance.suspension else None",
        REPAIRS,
    ),
    Mutant(
        "a workflow that is left refuses signals",
        "Workflow.begin_unread",
        "return handler.begin_unread(self, address, instance, request, inputs)",
        "return None",
        REPAIRS,
    ),
    Mutant(
        "a message to an unreadable instance is rejected",
        "_consumed",
        "(HookRaised, RunTimeout, Overloaded, InstanceParked, Undecodable)",
        "(HookRaised, RunTimeout, Overloaded)",
        PAIRS + "test_messages_to_an_unreadable_instance_wait_until_it_is_readable",
    ),
    Mutant(
        "a key answers another action with the same input",
        "replay",
        "remembered.action != request.action or not is_repeat",
        "not is_repeat",
        PAIRS + "test_a_key_belongs_to_the_first_action_that_was_made_with_it",
    ),
    Mutant(
        "a key answers the same action with another input",
        "replay",
        "remembered.action != request.action or not is_repeat",
        "remembered.action != request.action",
        PAIRS + "test_a_key_belongs_to_the_first_action_that_was_made_with_it",
    ),
    Mutant(
        "the program sees a refused state",
        "Draft._set",
        "            data, opened = self.codec.encode(state), None\n",
        "            self.state = state\n            data, opened = self.codec.encode(state), None\n",
        PAIRS + "test_a_refused_state_whose_error_is_caught_leaves_the_one_before",
    ),
    Mutant(
        "a refused state forgets the one before",
        "Draft._set",
        "            data, opened = self.codec.encode(state), None\n",
        "            self.encoded = None\n            data, opened = self.codec.encode(state), None\n",
        PAIRS + "test_a_refused_state_whose_error_is_caught_leaves_the_one_before",
    ),
    Mutant(
        "long texts of rows are kept decoded",
        "RowCodec._keep",
        "if len(text) > LONGEST_KEPT:",
        "if len(text) < 0:",
        "tests/codecs/test_row_codec.py::test_a_long_text_is_decoded_each_time",
    ),
    Mutant(
        "ticks of earlier skips are not counted",
        "_alarm",
        "skipped = attrs.evolve(ticks, missed=ticks.missed + missed)",
        "skipped = attrs.evolve(ticks, missed=missed)",
        PAIRS + "test_every_tick_is_run_or_counted_as_missed",
    ),
    Mutant(
        "the run after skips forgets them",
        "_alarm",
        "taken_ms=nominal_ms, missed=ticks.missed + missed,",
        "taken_ms=nominal_ms, missed=missed,",
        PAIRS + "test_every_tick_is_run_or_counted_as_missed",
    ),
    Mutant(
        "a run that is over leaves its missed ticks to the next",
        "settled",
        "StoredTicks(anchor_ms=ticks.anchor_ms, last=last)",
        "StoredTicks(anchor_ms=ticks.anchor_ms, missed=ticks.missed, last=last)",
        PAIRS + "test_every_tick_is_run_or_counted_as_missed",
    ),
    Mutant(
        "the machine lets a request be applied twice",
        "InvariantMonitor._applied",
        "if at in self.applied and not _completes(key, before):",
        "if at in self.applied and before is None:",
        LAWS + "[an accepted request changes the state once]",
    ),
    Mutant(
        "the machine compares no repeated answer",
        "JobRules.repeat",
        "if isinstance(again, Success) and again != made.result:",
        "if isinstance(again, Success) and made.result is None:",
        LAWS + "[a repeat with its key gets the first answer and changes nothing]",
    ),
    Mutant(
        "the machine believes every answer",
        "JobRules._answered",
        'self.monitor.sees == "all" and at not in self.monitor.applied:',
        'self.monitor.sees == "most" and at not in self.monitor.applied:',
        LAWS + "[an acknowledged request is stored]",
    ),
    Mutant(
        "the machine takes any version for the next",
        "InvariantMonitor._follows",
        "if transition.expected != before.fence:",
        "if transition.expected is not None and before.fence is None:",
        LAWS + "[transitions of an instance follow each other]",
    ),
    Mutant(
        "the machine lets an incarnation come back",
        "InvariantMonitor._follows",
        "if before.fence is None and 0 < fence.incarnation <= before.incarnation:",
        "if before.fence is None and 0 < fence.incarnation < before.incarnation:",
        LAWS + "[a successor is another incarnation]",
    ),
    Mutant(
        "the machine lets a message come twice",
        "InvariantMonitor._took",
        "        self._consumed.add(message_id)\n",
        "",
        LAWS + "[a message arrives once]",
    ),
    Mutant(
        "the machine lets messages overtake each other",
        "InvariantMonitor._took",
        "        self._last_of_pair[pair] = max(message_id, self._last_of_pair.get(pair, 0))\n",
        "",
        LAWS + "[messages of a pair arrive in order]",
    ),
    Mutant(
        "the machine lets an overdue instance lie",
        "_is_settled",
        "instance.due_ms is not None and instance.due_ms < over_ms:",
        "instance.due_ms is not None and instance.due_ms < 0:",
        LAWS + "[nothing is left half-done]",
    ),
    Mutant(
        "the machine lets every instance rest",
        "_check_invariants_of",
        "if idle and not (job.may_rest(instance) if finished is None else finished(view.state)):",
        "if idle and not job.plan:",
        LAWS + "[an unfinished instance has an alarm or is held]",
    ),
    Mutant(
        "the machine does not look what remains",
        "come_to_rest",
        "    if remains:\n        raise NotAtRest(",
        "    if not remains and engine is None:\n        raise NotAtRest(",
        LAWS + "[the engine comes to rest]",
    ),
    Mutant(
        "recoveries of one instance multiply",
        "ClaimsLeft.add",
        "        if address in self._timers:\n            return\n",
        "",
        "tests/behaviour/test_unstored_ends.py::test_recoveries_do_not_multiply[memory]",
    ),
    Mutant(
        "the history shows the secrets of an accepted request",
        "accepting",
        "redacted_payload(job, action, payload) if payload",
        "payload if payload",
        ACCEPTED + "test_each_accepted_event_is_in_the_history_once_with_its_input_and_without_secrets",
    ),
    Mutant(
        "the history has rejected events as accepted",
        "_with_event",
        " or not isinstance(step.result, Success)",
        "",
        ACCEPTED + "test_each_accepted_event_is_in_the_history_once_with_its_input_and_without_secrets",
    ),
    Mutant(
        "the history has requests that changed nothing",
        "accepting",
        "not isinstance(transition.write, Put | Purge) or ",
        "",
        ACCEPTED + "test_every_kind_records_its_accepted_requests",
    ),
    Mutant(
        "an accepted message does not name its sender",
        "_event",
        "JobStarted | JobExecuted | JobAccepted",
        "JobStarted | JobExecuted",
        ACCEPTED + "test_a_message_names_the_instance_that_sent_it",
    ),
    Mutant(
        "an encrypted store keeps accepted inputs in plain text",
        "_texts",
        'return ("payload",) if event.payload is not None else ()',
        "return ()",
        "tests/stores/test_encryption.py::test_accepted_inputs_are_encrypted_in_the_log",
    ),
)
