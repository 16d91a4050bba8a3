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

MUTANTS = (
    Mutant(
        "only the first preserved value of a migration is compared",
        "testing/migration/upgrade.py",
        "for law in self.preserved:",
        "for law in self.preserved[:1]:",
        "testing/test_check_evolution.py::test_a_loss_is_reported_with_the_smallest_state",
    ),
    Mutant(
        "an alarm fires a millisecond early",
        "jobs/turn.py",
        "due_ms <= inputs.now_ms",
        "due_ms <= inputs.now_ms + 1",
        TASK,
    ),
    Mutant(
        "the answer of a keyed request is not remembered",
        "jobs/turn.py",
        "if request.idempotency_key is not None and isinstance(commit.result, Success):",
        "if request.idempotency_key is None and isinstance(commit.result, Success):",
        KEYS,
    ),
    Mutant(
        "messages of the last turn to others are lost",
        "jobs/turn.py",
        "transition = purge(instance, events=events, messages=tuple(execute.draft.messages))",
        "transition = purge(instance, events=events)",
        ENDS,
    ),
    Mutant(
        "the number of an attempt does not grow",
        "jobs/run.py",
        "attempt=claim.attempt + 1,\n",
        "attempt=claim.attempt,\n",
        TASK,
    ),
    Mutant(
        "a retry looks like a first attempt",
        "jobs/run.py",
        "attempt=pending_retry.attempt,\n        deliveries",
        "attempt=1,\n        deliveries",
        TASK,
    ),
    Mutant(
        "a run is not counted",
        "jobs/run.py",
        "run_count = before.run_count + 1",
        "run_count = before.run_count",
        TASK,
    ),
    Mutant(
        "the draft of a failed run is kept",
        "jobs/run.py",
        "        pending_retry=pending_retry,\n        last_error=record,\n    )",
        "        pending_retry=pending_retry,\n        last_error=record,\n"
        "        state=execute.draft.encoded or '',\n    )",
        TASK,
    ),
    Mutant(
        "a run that failed for good is not parked",
        "jobs/run.py",
        "suspension=suspension,",
        "suspension=None,",
        TASK,
    ),
    Mutant(
        "a failed attempt keeps its claim",
        "jobs/run.py",
        "        claim=None,\n        pending_retry=pending_retry,\n        last_error=record,\n    )",
        "        pending_retry=pending_retry,\n        last_error=record,\n    )",
        TASK,
    ),
    Mutant(
        "the claim of a run is not written",
        "jobs/run.py",
        "claim=claim, run_count=run_count",
        "claim=None, run_count=run_count",
        TASK,
    ),
    Mutant(
        "a resumed run has used its attempts up",
        "jobs/run.py",
        "attempt = execute.claim.attempt - execute.claim.uncounted",
        "attempt = execute.claim.attempt",
        TASK,
    ),
    Mutant(
        "the claim of an event is not written",
        "jobs/event_run.py",
        "event_claim=execute.claim)",
        "event_claim=None)",
        f"{SWEEP}[task: next event with effects-memory]",
    ),
    Mutant(
        "a failed first event leaves its claim",
        "jobs/event_run.py",
        'if execute.claim.created == "here":\n        return purge',
        'if execute.claim.created == "never":\n        return purge',
        FIRST,
    ),
    Mutant(
        "a first event is not claimed before the first state is made",
        "kinds/task/handler.py",
        'if inputs.code == "suspect":',
        'if inputs.code == "suspect" and request.inbound is None:',
        BEFORE,
    ),
    Mutant(
        "an upgrade is not claimed",
        "jobs/upgrade.py",
        'if inputs.code == "trusted" or',
        "if inputs.code or",
        BEFORE,
    ),
    Mutant(
        "a parked upgrade is made again for each request",
        "jobs/turn.py",
        'return instance.suspension == "recovery_exhausted" and instance.event_claim is not None',
        "return False",
        BEFORE,
    ),
    Mutant(
        "the upgrade of an instance that is left is not recovered",
        "jobs/recovery.py",
        'instance.left is not None and claim.cause != "upgrade"',
        "instance.left is not None",
        BEFORE,
    ),
    Mutant(
        "a claim that was counted twice goes beside others",
        "jobs/recovery.py",
        'alone="alone" if recoveries >= MAX_RECOVERIES else "beside_others"',
        'alone="beside_others"',
        BEFORE,
    ),
    Mutant(
        "a recovery is not counted",
        "jobs/recovery.py",
        "recoveries = claim.recoveries + 1 if crashed else claim.recoveries",
        "recoveries = claim.recoveries",
        AGAIN,
    ),
    Mutant(
        "a run is recovered once too often",
        "jobs/recovery.py",
        "if crashed and claim.recoveries >= MAX_RECOVERIES",
        "if crashed and claim.recoveries > MAX_RECOVERIES",
        AGAIN,
    ),
    Mutant(
        "a graceful stop counts as a crash",
        "jobs/recovery.py",
        "not in (inputs.epoch, RELEASED)",
        "!= inputs.epoch",
        AGAIN,
    ),
    Mutant(
        "a repeated delivery is not marked",
        "jobs/recovery.py",
        "deliveries=claim.deliveries + 1",
        "deliveries=claim.deliveries",
        f"{SWEEP}[task: an alarm-memory]",
    ),
    Mutant(
        "a key is remembered a millisecond too long",
        "jobs/keys.py",
        "answer=job.plan.answers.encode(answer).decode(),\n        expires_ms=inputs.now_ms",
        "answer=job.plan.answers.encode(answer).decode(),\n        expires_ms=1 + inputs.now_ms",
        KEYS,
    ),
    Mutant(
        "a key takes another request",
        "jobs/keys.py",
        "if (remembered.action, remembered.fingerprint) !=",
        "if (remembered.action, remembered.fingerprint) is",
        KEYS,
    ),
    Mutant(
        "one key too many",
        "jobs/keys.py",
        "loaded.keys_held >= inputs",
        "loaded.keys_held > inputs",
        KEYS,
    ),
    Mutant(
        "resuming forgets the alarm",
        "jobs/suspension.py",
        "job.rearmed(instance, inputs),",
        "attrs.evolve(instance, alarm_ms=None),",
        TASK,
    ),
    Mutant(
        "a parked instance is paused and not resumed",
        "jobs/suspension.py",
        "        suspension=None,\n        pending_retry=pending_retry,",
        '        suspension=None if instance.suspension == "paused" else "paused",\n'
        "        pending_retry=pending_retry,",
        TASK,
    ),
    Mutant(
        "a parked run is resumed at its old instant",
        "jobs/suspension.py",
        "attrs.evolve(pending_retry, at_ms=inputs.now_ms)",
        "attrs.evolve(pending_retry, at_ms=pending_retry.at_ms)",
        TASK,
    ),
    Mutant(
        "the version check is removed",
        "jobs/writes.py",
        "expected=before.fence,\n        write=Put(after)",
        "expected=None,\n        write=Put(after)",
        TASK,
    ),
    Mutant(
        "the version does not grow",
        "jobs/writes.py",
        "version=before.version + 1",
        "version=before.version",
        TASK,
    ),
    Mutant(
        "a purge leaves the messages to itself",
        "jobs/writes.py",
        "write=Purge(own_messages)",
        'write=Purge("kept")',
        ENDED,
    ),
    Mutant(
        "the last turn still sends messages to itself",
        "jobs/writes.py",
        'if own_messages == "dropped":',
        'if own_messages == "kept":',
        ENDS,
    ),
    Mutant(
        "the first alarm of a draft wins",
        "jobs/draft.py",
        "self.alarm = change",
        "self.alarm = change if type(self.alarm) is KeepAlarm else self.alarm",
        TASK,
    ),
    Mutant(
        "a draft does not read its own writes",
        "jobs/draft.py",
        "        self.state, self.opened = state, opened\n",
        "        self.opened = opened\n",
        TASK,
    ),
)
