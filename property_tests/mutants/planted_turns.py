"""Bugs in the decisions of a turn: runs, events, recoveries, keys, holds, drafts."""

from mutant import Mutant

TASK = "behaviour/test_task_machine.py::TestTaskMachine"
SWEEP = "behaviour/test_crash_sweep.py::test_a_crash_anywhere_is_recovered"
KEYS = "behaviour/test_keys_laws.py::test_a_key_is_applied_once_within_its_window"
ENDS = "behaviour/test_order_laws.py::test_an_instance_that_ends_drops_its_messages_to_itself_and_nothing_else"
ENDED = "behaviour/test_order_laws.py::test_an_ended_instance_drops_its_waiting_messages_to_itself"
FIRST = "behaviour/test_recovery_laws.py::test_a_first_event_that_fails_leaves_no_instance"
BEFORE = "behaviour/test_suspect_code.py::test_code_that_kills_before_a_handler_is_parked_and_its_neighbours_are_served"
AGAIN = "behaviour/test_recovery_laws.py::test_a_run_is_delivered_again_until_its_third_crash"

DEATHS = "tests/behaviour/test_common_turns.py::test_the_job_says_how_many_deaths_park_a_run"
ONE_RUN = "behaviour/test_run_identity_laws.py"
IDENTITY = "tests/behaviour/test_run_identity.py"
EXHAUSTED = (
    "tests/behaviour/test_task_calls.py"
    "::test_an_on_error_that_takes_over_leaves_the_end_of_the_retries_in_the_history[memory]"
)

MUTANTS = (
    Mutant(
        "only the first preserved value of a migration is compared",
        "Upgrade._check_state",
        "for law in self.preserved:",
        "for law in self.preserved[:1]:",
        "testing/test_check_evolution.py::test_a_loss_is_reported_with_the_smallest_state",
    ),
    Mutant(
        "an alarm fires a millisecond early",
        "_is_due",
        "due_ms <= inputs.now_ms",
        "due_ms <= inputs.now_ms + 1",
        TASK,
    ),
    Mutant(
        "the answer of a keyed request is not remembered",
        "_concluded",
        "case Success(answer) if request.idempotency_key is not None:",
        "case Success(answer) if request.idempotency_key is None:",
        "tests/behaviour/test_keys.py::test_every_request_may_carry_a_key[sqlite]",
    ),
    Mutant(
        "messages of the last turn to others are lost",
        "_ended",
        "messages=(*execute.draft.messages, *last)",
        "messages=last",
        ENDS,
    ),
    Mutant(
        "the number of an attempt does not grow",
        "_retried",
        "attempt=claim.attempt + 1,\n",
        "attempt=claim.attempt,\n",
        TASK,
    ),
    Mutant(
        "a retry looks like a first attempt",
        "begin_attempt",
        "attempt=pending_retry.attempt,\n        deliveries",
        "attempt=1,\n        deliveries",
        TASK,
    ),
    Mutant(
        "a run is not counted",
        "begin_run",
        "run_count = before.run_count + 1",
        "run_count = before.run_count",
        TASK,
    ),
    Mutant(
        "the draft of a failed run is kept",
        "_retried",
        "        pending_retry=pending_retry,\n        last_error=record,\n    )",
        "        pending_retry=pending_retry,\n        last_error=record,\n"
        "        state=execute.draft.encoded or '',\n    )",
        TASK,
    ),
    Mutant(
        "a run that failed for good is not parked",
        "_after_exhaustion",
        "suspension=suspension,",
        "suspension=None,",
        TASK,
    ),
    Mutant(
        "a failed attempt keeps its claim",
        "_retried",
        "        claim=None,\n        pending_retry=pending_retry,\n        last_error=record,\n    )",
        "        pending_retry=pending_retry,\n        last_error=record,\n    )",
        TASK,
    ),
    Mutant(
        "the claim of a run is not written",
        "begin_run",
        "claim=claim, run_count=run_count, pending_retry=None",
        "claim=None, run_count=run_count, pending_retry=None",
        TASK,
    ),
    Mutant(
        "a resumed run has used its attempts up",
        "_next_attempt",
        "attempt = execute.claim.attempt - execute.claim.uncounted",
        "attempt = execute.claim.attempt",
        TASK,
    ),
    Mutant(
        "the claim of an event is not written",
        "claim_event",
        "event_claim=claim)",
        "event_claim=None)",
        f"{SWEEP}[task: next event with effects-memory]",
    ),
    Mutant(
        "a failed first event leaves its claim",
        "_without",
        'if execute.claim.created == "here":\n        return purge',
        'if execute.claim.created == "never":\n        return purge',
        FIRST,
    ),
    Mutant(
        "a first event is not claimed before the first state is made",
        "_create",
        'if inputs.code == "suspect":',
        'if inputs.code == "suspect" and request.inbound is None:',
        BEFORE,
    ),
    Mutant(
        "an upgrade is not claimed",
        "upgrade_first",
        'if inputs.code == "trusted" or',
        "if inputs.code or",
        BEFORE,
    ),
    Mutant(
        "a parked upgrade is made again for each request",
        "_is_refused",
        'return instance.suspension == "recovery_exhausted" and instance.event_claim is not None',
        "return False",
        BEFORE,
    ),
    Mutant(
        "the upgrade of an instance that is left is not recovered",
        "left_behind",
        'instance.left is not None and claim.cause != "upgrade"',
        "instance.left is not None",
        BEFORE,
    ),
    Mutant(
        "an instance that is left stays so when its upgrade is parked",
        "_park",
        'changes: dict[str, Any] = {"left": None}',
        "changes: dict[str, Any] = {}",
        BEFORE,
    ),
    Mutant(
        "a claim that was counted twice goes beside others",
        "recover",
        'alone="alone" if recoveries >= MAX_RECOVERIES else "beside_others"',
        'alone="beside_others"',
        BEFORE,
    ),
    Mutant(
        "a recovery is not counted",
        "recover",
        "recoveries = claim.recoveries + 1 if crashed else claim.recoveries",
        "recoveries = claim.recoveries",
        AGAIN,
    ),
    Mutant(
        "a run is recovered once too often",
        "recover",
        "if crashed and claim.recoveries + 1 >= job.plan.max_deaths",
        "if crashed and claim.recoveries >= job.plan.max_deaths",
        AGAIN,
    ),
    Mutant(
        "all jobs have one limit of deaths",
        "recover",
        "claim.recoveries + 1 >= job.plan.max_deaths",
        "claim.recoveries + 1 >= 3",
        f"{DEATHS}[memory-alarm-5]",
    ),
    Mutant(
        "code with a greater limit takes up an event that is parked",
        "_park",
        "if claim.recoveries < MAX_RECOVERIES:",
        "if False:",
        f"{DEATHS}[memory-event-1]",
    ),
    Mutant(
        "a graceful stop counts as a crash",
        "recover",
        "not in (inputs.epoch, RELEASED)",
        "!= inputs.epoch",
        AGAIN,
    ),
    Mutant(
        "a repeated delivery is not marked",
        "recover",
        "deliveries=claim.deliveries + 1",
        "deliveries=claim.deliveries",
        f"{SWEEP}[task: an alarm-memory]",
    ),
    Mutant(
        "a key is remembered a millisecond too long",
        "remember",
        "answer=job.plan.answers.encode(answer).decode(),\n        expires_ms=inputs.now_ms",
        "answer=job.plan.answers.encode(answer).decode(),\n        expires_ms=1 + inputs.now_ms",
        KEYS,
    ),
    Mutant(
        "a key takes another request",
        "replay",
        "if remembered.action != request.action or not is_repeat:",
        "if False:",
        KEYS,
    ),
    Mutant(
        "one key too many",
        "replay",
        "loaded.keys_held >= inputs",
        "loaded.keys_held > inputs",
        KEYS,
    ),
    Mutant(
        "resuming forgets the alarm",
        "resume",
        "job.rearmed(instance, inputs),",
        "attrs.evolve(instance, alarm_ms=None),",
        TASK,
    ),
    Mutant(
        "a parked instance is paused and not resumed",
        "resume",
        "        suspension=None,\n        pending_retry=pending_retry,",
        '        suspension=None if instance.suspension == "paused" else "paused",\n'
        "        pending_retry=pending_retry,",
        TASK,
    ),
    Mutant(
        "a parked run is resumed at its old instant",
        "resume",
        "attrs.evolve(pending_retry, at_ms=inputs.now_ms)",
        "attrs.evolve(pending_retry, at_ms=pending_retry.at_ms)",
        TASK,
    ),
    Mutant(
        "the version check is removed",
        "put",
        "expected=before.fence,\n        write=Put(after)",
        "expected=None,\n        write=Put(after)",
        TASK,
    ),
    Mutant(
        "the version does not grow",
        "put",
        "version=before.version + 1",
        "version=before.version",
        TASK,
    ),
    Mutant(
        "a purge leaves the messages to itself",
        "purge",
        "write=Purge(own_messages)",
        'write=Purge("kept")',
        ENDED,
    ),
    Mutant(
        "the last turn still sends messages to itself",
        "purge",
        'if own_messages == "dropped":',
        'if own_messages == "kept":',
        ENDS,
    ),
    Mutant(
        "the first alarm of a draft wins",
        "Draft.answer",
        "self.alarm = change",
        "self.alarm = change if self.alarm is Alarm.keep else self.alarm",
        TASK,
    ),
    Mutant(
        "a draft does not read its own writes",
        "Draft._set",
        "        self.state, self.opened = state, opened\n",
        "        self.opened = opened\n",
        TASK,
    ),
    Mutant(
        "a repeated key runs under a new id",
        "run_id_of",
        'return _computed_id("key", str(address), request.action, request.idempotency_key)',
        "return new_id()",
        f"{ONE_RUN}::test_a_keyed_event_is_one_run_until_it_is_applied",
    ),
    Mutant(
        "equal keys of two addresses have one run id",
        "run_id_of",
        '_computed_id("key", str(address), request',
        '_computed_id("key", request',
        f"{IDENTITY}::test_a_repeated_key_runs_under_the_id_of_the_first",
    ),
    Mutant(
        "a message that is delivered again runs under a new id",
        "run_id_of",
        'return _computed_id("message", str(address), str(inbound.sender), inbound.message_id, inbound.sent_ms)',
        "return new_id()",
        f"{ONE_RUN}::test_a_message_is_one_run_until_it_is_consumed",
    ),
    Mutant(
        "a repeated key is not marked",
        "begin",
        "attempt=loaded.remembered.failures + 1)",
        "attempt=1)",
        f"{ONE_RUN}::test_a_keyed_event_is_one_run_until_it_is_applied",
    ),
    Mutant(
        "a message that is delivered again is not marked",
        "Outbox._post",
        "attempt=stored.deliveries + 1)",
        "attempt=1)",
        f"{ONE_RUN}::test_a_message_is_one_run_until_it_is_consumed",
    ),
    Mutant(
        "the key of a failed request takes another request",
        "replay",
        "or not is_repeat",
        "or not (remembered.failures or is_repeat)",
        f"{IDENTITY}::test_another_request_with_the_key_of_a_failed_one_is_refused",
    ),
    Mutant(
        "a key without its answer is applied again",
        "replay",
        "return None if remembered.failures else",
        "return None if remembered.failures or not remembered.answer else",
        KEYS,
    ),
    Mutant(
        "a trigger abandons the retry of a task",
        "_trigger",
        "if instance.pending_retry is not None and not command.options.new_run:",
        "if False:",
        f"{ONE_RUN}::test_a_run_is_one_run_also_if_an_operator_retries_it",
    ),
    Mutant(
        "a new run continues the retry of a task",
        "_trigger",
        "if instance.pending_retry is not None and not command.options.new_run:",
        "if instance.pending_retry is not None:",
        f"{ONE_RUN}::test_a_run_is_one_run_also_if_an_operator_retries_it",
    ),
    Mutant(
        "a trigger forgets the run that failed for good",
        "_trigger",
        "left = instance.pending_retry or _left(ticks, instance, inputs)",
        "left = instance.pending_retry",
        f"{IDENTITY}::test_a_trigger_continues_a_run_that_failed_for_good_until_the_next_tick",
    ),
    Mutant(
        "the parts of a workflow have run ids of their own",
        "due",
        'cause="alarm", run_id=header.run_id)',
        'cause="alarm")',
        f"{IDENTITY}::test_the_events_of_a_workflow_have_the_id_that_its_program_sees",
    ),
    Mutant(
        "the machine lets a repeated run have another id",
        "InvariantMonitor._identified",
        "if claim.run_id != first:",
        "if not first:",
        "tests/testing/test_machine_laws.py::test_a_violation_of_one_law_is_reported_by_that_law_only"
        "[a run that is repeated has one id]",
    ),
    Mutant(
        "the history of a job that `on_error` takes over does not say why its retries ended",
        "prior_failed",
        "if execute.prior is None or execute.prior_reason is None:",
        "if execute.prior is None or execute.prior_reason is not None:",
        EXHAUSTED,
    ),
    Mutant(
        "a job without retries says that they ended",
        "_given_up",
        "reason=None if job.plan.retry is None else reason",
        "reason=reason",
        EXHAUSTED,
    ),
    Mutant(
        "the history of a parked job does not say that it is parked",
        "_after_exhaustion",
        "events=(*events, parked)",
        "events=events",
        "tests/kinds/test_worker_pool.py::test_a_failed_attempt_is_retried_and_then_the_item_is_dead[memory]",
    ),
)
