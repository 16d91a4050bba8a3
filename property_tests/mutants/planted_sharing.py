"""Bugs in the engine over a shared store."""

from mutant import Mutant

HOLES = "sharing/test_holes.py"
BURIAL = "sharing/test_burials.py::test_a_left_message_is_buried_or_handled"
MESSAGE = f"{HOLES}::test_a_claim_for_a_message_that_another_engine_consumed_is_not_written"
FLUSH = f"{HOLES}::test_the_end_of_a_flush_waits_for_an_event_of_another_engine"
NEWCOMER = f"{HOLES}::test_a_newcomer_is_not_taken_for_dead"
RESUME = f"{HOLES}::test_a_resume_does_not_free_a_claim_that_is_being_run"
RELEASE = f"{HOLES}::test_a_stopping_engine_does_not_release_a_claim_that_another_took_over"
LEASE = f"{HOLES}::test_an_engine_whose_lease_has_ended_performs_nothing_more_and_stops"
FROZEN = f"{HOLES}::test_a_frozen_engine_that_wakes_after_its_lease_writes_nothing"
TAKEN_OVER = f"{HOLES}::test_the_runs_of_a_killed_engine_are_taken_over_when_its_lease_ends"
TAKEOVERS = "sharing/test_takeovers.py::test_runs_are_taken_over_within_the_lease_and_a_second"
ALARMS = f"{HOLES}::test_alarms_are_divided_and_none_waits_for_the_engine_that_set_it"
DECLARED_DEAD = (
    "tests/stores/test_conformance.py::test_the_store_keeps"
    "[an_opening_without_heartbeats_is_declared_dead-SharedMemoryHarness]"
)
LEDGERS = "sharing/test_crowd.py::test_the_answers_of_engines_that_suffer_are_linearizable"
HISTORIES = "testing/test_linearizability.py"
CROWD = "sharing/test_crowd.py::test_a_crowd_over_engines_that_suffer"

LEFT = "sharing/test_left.py"

PARTS = "sharing/test_parts.py::"

MUTANTS = (
    Mutant(
        "a message to a job of another engine waits for the engine that wrote it",
        "_Work.messages",
        "membership.share, membership.writers, old_ms",
        "membership.share, membership.others, old_ms",
        PARTS + "test_each_engine_works_on_its_jobs_and_messages_reach_the_others_at_once",
    ),
    Mutant(
        "instances of a job that another engine serves are orphaned",
        "ReadingGateway.listed",
        "job is None and place not in self.elsewhere",
        "job is None",
        PARTS + "test_each_engine_works_on_its_jobs_and_messages_reach_the_others_at_once",
    ),
    Mutant(
        "a job that no engine serves is not shown",
        "with_unserved",
        """    if nowhere:
""",
        """    if False:
""",
        PARTS + "test_a_job_that_no_engine_serves_is_shown",
    ),
    Mutant(
        "a call marks nothing on a shared store",
        "_left",
        "if is_first and inputs.others.serve_otherwise(address.kind, address.name, code_of(job, inputs.reads)):",
        "if is_first and inputs.others:",
        "sharing/test_left.py::test_an_instance_that_only_calls_meet_is_listed_once_no_other_code_runs",
    ),
    Mutant(
        "an engine fires alarms by its own clock",
        "membership_of",
        "return membership, attrs.evolve(runtime, now_ms=membership.now_ms)",
        "return membership, runtime",
        "sharing/test_clocks.py::test_an_alarm_fires_by_the_clock_of_the_store",
    ),
    Mutant(
        "a claim does not require that its message lives",
        "Runner.claiming",
        "return keeping(transition, execute.claim) if self.others else transition",
        "return transition",
        MESSAGE,
    ),
    Mutant(
        "a flush ends during the event of another engine",
        "is_event_between",
        "return bool(others) or left_behind(instance, running) is event",
        "return False",
        FLUSH,
    ),
    Mutant(
        "a flush ends over the event of an engine that died",
        "is_event_between",
        "return bool(others) or left_behind(instance, running) is event",
        "return event.owner in others",
        f"{HOLES}::test_the_claim_of_a_dead_engine_is_not_written_over_either",
    ),
    Mutant(
        "the end of a recovered run in the background passes the recovery of an event",
        "InstanceCell.put",
        "self.waiting.insert(int(recovers and not self.waiting[0].is_end), entry)",
        "self.waiting.appendleft(entry)",
        "tests/behaviour/test_debounce_failures.py::"
        "test_an_event_with_effects_is_claimed_beside_the_flush_and_both_survive[memory]",
    ),
    Mutant(
        "a message is buried while an engine handles it",
        "unclaimed",
        "if fate is not None and any(claim.message_id == fate.message_id for claim in claims if claim is not None):",
        "if False:",
        "tests/behaviour/test_messages.py::test_a_message_whose_run_is_left_in_progress_is_not_buried[memory]",
    ),
    Mutant(
        "a request marks an instance that another engine reads",
        "_left",
        "if is_first and inputs.others.serve_otherwise(address.kind, address.name, code_of(job, inputs.reads)):",
        "if False:",
        f"{LEFT}::test_a_call_to_an_engine_that_cannot_read_the_instance_changes_nothing",
    ),
    Mutant(
        "only the share takes up instances that other code left",
        "TakingUp.run",
        "found = await self._look()",
        'found: Literal["page", "some", "nothing"] = "nothing" if self.others else await self._look()',
        f"{LEFT}::test_an_alarm_that_older_code_left_fires_within_a_second",
    ),
    Mutant(
        "a run that is left loses its claim",
        "leave",
        "left=mark, **released)",
        "left=mark, claim=None)",
        f"{LEFT}::test_a_run_that_is_left_after_its_effect_is_repeated_under_its_id",
    ),
    Mutant(
        "a delivery that did not happen is counted",
        "begin_marked",
        "leave(job, _before(mark, marked), problem",
        "leave(job, marked, problem",
        f"{LEFT}::test_a_run_that_is_left_after_its_effect_is_repeated_under_its_id",
    ),
    Mutant(
        "a message of newer code is left to no code",
        "left_message",
        "codes=(*(one for one in stored.codes if one != code), code)[-MAX_CODES:],",
        "codes=(),",
        f"{LEFT}::test_a_message_of_newer_code_is_delivered_by_newer_code",
    ),
    Mutant(
        "the alarm of an instance that is left is due",
        "Instance.due_ms",
        "if self.suspension is not None or self.lane is not None or self.left is not None:",
        "if self.suspension is not None or self.lane is not None:",
        f"{LEFT}::test_the_code_that_left_an_instance_does_not_try_again",
    ),
    Mutant(
        "newcomers are taken for dead",
        "OtherEngines.__contains__",
        "return epoch in self.living or (isinstance(epoch, int) and epoch > self.known_up_to and epoch != self.me)",
        "return epoch in self.living",
        NEWCOMER,
    ),
    Mutant(
        "resume releases a claim that an engine runs",
        "_fresh",
        "if inputs.others and (claim.owner in inputs.others or claim.run_id in inputs.running):",
        "if False:",
        RESUME,
    ),
    Mutant(
        "a stopping engine releases the claim of another engine",
        "release",
        "claim.run_id == run_id and claim.owner in (inputs.epoch, RELEASED)",
        "claim.run_id == run_id",
        RELEASE,
    ),
    Mutant(
        "effects without a lease",
        "while_leased",
        "if not membership.may_act():",
        "if False:",
        FROZEN,
    ),
    Mutant(
        "an engine without a lease continues",
        "RunningEngine.lost",
        '        self.fail(f"epoch {self.store.epoch} of {self.store.name}: {reason}")\n        self.stop_runs()\n',
        "        pass\n",
        LEASE,
    ),
    Mutant(
        "claims of living engines are taken for dead",
        "left_behind",
        "if claim is None or claim.run_id in running or claim.owner in others:",
        "if claim is None or claim.run_id in running:",
        CROWD,
    ),
    Mutant(
        "requests do not wait for the run of another engine",
        "_claimed_elsewhere",
        "if not is_claimed_elsewhere(instance, job.occupancy, inputs):",
        "if instance:",
        CROWD,
    ),
    Mutant(
        "abandoned claims are read at the start only",
        "ClaimSweeper.others_changed",
        "self._ended.notify()\n        self._changed.notify()",
        "pass",
        TAKEN_OVER,
    ),
    Mutant(
        "the claims of a dead engine are left to the share",
        "RunningEngine.start",
        '            self._loop(self._sweep.run_left(), "sweep of all claims")\n',
        "",
        TAKEOVERS,
    ),
    Mutant(
        "a look for claims that failed waits for the next period",
        "ClaimSweeper._repeated",
        "            await self.runtime.sleep(delay_ms)\n",
        "            await self.runtime.sleep(SWEEP_MS)\n",
        TAKEOVERS,
    ),
    Mutant(
        "a heartbeat that failed waits for the usual pause",
        "Membership._pause_ms",
        "return min(usual_ms, RETRY_MS * 2.0 ** min(self._failures - 1, 16))",
        "return usual_ms",
        TAKEOVERS,
    ),
    Mutant(
        "a heartbeat whose answer was lost is the last one",
        "Membership._beat",
        "raise _repeatable(found.failure())",
        "raise found.failure()",
        TAKEOVERS,
    ),
    Mutant(
        "an engine takes its share before it can handle it",
        "Membership._served",
        "_served: Served = attrs.Factory(dict[Job, ServedCode])",
        "_served: Served = attrs.Factory(lambda self: self.jobs, takes_self=True)",
        "sharing/test_takeovers.py::test_an_opening_that_hangs_takes_no_share",
    ),
    Mutant(
        "a run that an engine must not continue is a defect of the job",
        "RunExecutor._execute",
        "if type(begun) is Raised and isinstance(begun.cause, RunLost):",
        "if False:",
        "sharing/test_lost_leases.py::test_a_run_begins_nothing_if_another_one_of_its_step_blocked_the_loop_beyond_the_lease",
    ),
    Mutant(
        "a program continues whose instance another engine has deleted",
        "_compare",
        'cell.stop(run, "interrupted")',
        "pass",
        "sharing/test_ended_elsewhere.py::test_a_terminate_elsewhere_stops_a_program_within_a_heartbeat",
    ),
    Mutant(
        "a cancellation at another engine interrupts nothing",
        "_compare",
        "cell.interrupt(run, execute, row)",
        "pass",
        "sharing/test_ended_elsewhere.py::test_a_cancellation_elsewhere_interrupts_a_step_within_a_heartbeat",
    ),
    Mutant(
        "every program that was claimed is stopped",
        "_compare",
        "if row is None or not _has_claim(row, execute.claim.run_id):",
        "if True:",
        "sharing/test_ended_elsewhere.py::test_a_terminate_elsewhere_stops_a_program_within_a_heartbeat",
    ),
    Mutant(
        "an engine looks for the end of other leases at its heartbeats only",
        "Membership._pause_ms",
        "return min(usual_ms, min(lefts_ms, default=usual_ms) + AFTER_LEASE_MS)",
        "return usual_ms",
        TAKEN_OVER,
    ),
    Mutant(
        "the fence of a shared store compares no version",
        "_holds",
        "return expected.incarnation == stored.incarnation and expected.version == stored.version",
        "return expected.incarnation == stored.incarnation",
        LEDGERS,
    ),
    Mutant(
        "the checker of histories lets a call be executed before it was made",
        "_listed",
        "timed.append((call.called_at, False, number, begin))",
        "timed.append((0.0, False, number, begin))",
        f"{HISTORIES}::test_bad_histories",
    ),
    Mutant(
        "the checker of histories compares no answers",
        "_Search._placeable",
        "call.answer is UNKNOWN or answer == call.answer",
        "True",
        f"{HISTORIES}::test_bad_histories",
    ),
    Mutant(
        "the checker of histories remembers states without the calls that lead there",
        "_Search.run",
        "(bits, next_state[0]) not in seen:",
        "next_state[0] not in {state for _, state in seen}:",
        f"{HISTORIES}::test_the_verdict_is_that_of_a_search_through_all_orders",
    ),
    Mutant(
        "leases never end",
        "SharedMemoryBackend.beat",
        "if other != epoch and member.until_ms < now_ms]",
        "if other != epoch and False]",
        TAKEN_OVER,
    ),
    Mutant(
        "an engine that was declared dead still writes",
        "SharedMemoryBackend.beat",
        "self._openings.pop(other).declare_dead()",
        "self._openings.pop(other)",
        DECLARED_DEAD,
    ),
    Mutant(
        "an engine fires the alarms that it set only",
        "RunningEngine.start",
        'self._loop(every(self.runtime, ALARM_POLL_MS, self._look_at_alarms), "alarm poll")',
        "pass",
        ALARMS,
    ),
    Mutant(
        "terminate does not wait for the run of another engine",
        "_is_occupied",
        "return is_running(instance, inputs) or is_claimed_elsewhere(instance, job.occupancy, inputs)",
        "return instance.claim is not None and instance.claim.run_id in inputs.running",
        f"{HOLES}::test_a_terminate_waits_for_the_run_of_another_engine",
    ),
    Mutant(
        "a message that another engine claims meanwhile is a dead letter",
        "Outbox._write",
        "if self.store.sharing is not None and isinstance(transition.inbound, DeadLettered):",
        "if False:",
        BURIAL,
    ),
    Mutant(
        "a burial that the claim of another engine prevents is reported as done",
        "Outbox._bury",
        """return Success("not_found")\n            case failed""",
        """return Success("buried")\n            case failed""",
        BURIAL,
    ),
)
