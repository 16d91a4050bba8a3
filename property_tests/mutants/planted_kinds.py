"""Bugs in tasks, debounces and continuous jobs."""

from mutant import Mutant

TASK = "behaviour/test_task_machine.py::TestTaskMachine"
FIRE = "behaviour/test_debounce_fire_time.py::test_every_batch_flushes_when_the_contract_says"
CLEAR = "behaviour/test_debounce_clear.py::test_a_batch_that_is_being_flushed_is_not_cleared"
MAIL = "behaviour/test_debounce_no_event_lost.py::TestInMemory"
SILENT = "behaviour/test_continuous_never_silent.py::test_a_failing_run_never_silences_the_schedule[memory]"
LAST = "tests/behaviour/test_continuous_schedule.py::test_the_status_says_when_and_how_the_last_run_ended[memory]"
BETWEEN = (
    "tests/behaviour/test_continuous_schedule.py"
    "::test_the_end_of_a_triggered_run_between_two_ticks_is_the_last_one[memory]"
)
HOOKS = "behaviour/test_recovery_laws.py::test_hooks_run_when_the_contract_says"
CALLS = "tests/behaviour/test_task_calls.py"

MUTANTS = (
    Mutant(
        "a failed firing does not use the alarm up",
        "alarm_consumed",
        "return attrs.evolve(instance, alarm_ms=None)",
        "return instance",
        TASK,
    ),
    Mutant(
        "a failed retry drops the alarm that was set since",
        "alarm_consumed",
        'if claim.cause == "alarm" and instance.pending_retry is None:',
        'if claim.cause == "alarm":',
        "tests/behaviour/test_task_retry.py::test_an_event_while_a_retry_waits_may_move_the_alarm[memory-2]",
    ),
    Mutant(
        "an event is not counted",
        "Instance.after_event",
        "copy.event_count = self.event_count + 1",
        "copy.event_count = self.event_count",
        TASK,
    ),
    Mutant(
        "a parked task takes events",
        "begin",
        'if instance.suspension is not None and instance.suspension != "paused":',
        'if instance.suspension == "not_retryable":',
        TASK,
    ),
    Mutant(
        "a retry begins a new run",
        "_alarm",
        "        return reply(address, None)\n"
        "    if instance.pending_retry is not None:\n"
        "        return begin_attempt(job, instance, instance.pending_retry, request, inputs)\n"
        "    return begin_run(",
        "        return reply(address, None)\n"
        "    if instance.pending_retry is None:\n"
        "        return begin_attempt(job, instance, instance.pending_retry, request, inputs)\n"
        "    return begin_run(",
        TASK,
    ),
    Mutant(
        "messages of a run of a task to others are lost",
        "run_executed",
        "messages=tuple(draft.messages) if draft.messages else (),",
        "messages=(),",
        f"{CALLS}::test_messages_of_a_run_are_sent_with_its_commit",
    ),
    Mutant(
        "on_error of a run does not receive the error",
        "run_failed",
        "error=error_for_hook(exit_, record), reason=reason",
        "error=None, reason=reason",
        f"{CALLS}::test_on_error_of_a_run_comes_when_retries_are_used_up",
    ),
    Mutant(
        "on_idle runs while something is scheduled",
        "Task.succeeded",
        "if alarm_ms is None and hooks.on_idle is not None and execute.hook",
        "if hooks.on_idle is not None and execute.hook",
        HOOKS,
    ),
    Mutant(
        "on_error is not called for an event",
        "event_failed",
        "if execute.prior is None:\n        program",
        "if execute.prior is not None:\n        program",
        HOOKS,
    ),
    Mutant(
        "each event moves the timer",
        "_timed",
        "batch.event_count + 1, batch.started_ms + how.flush_after_ms",
        "batch.event_count + 1, now_ms + how.flush_after_ms",
        FIRE,
    ),
    Mutant(
        "a batch holds one event too many",
        "_timed",
        "count >= how.max_events",
        "count > how.max_events",
        FIRE,
    ),
    Mutant(
        "inactivity moves the flush past its latest time",
        "_timed",
        "now_ms + how.inactivity_ms < latest_ms",
        "now_ms < latest_ms",
        FIRE,
    ),
    Mutant(
        "a flush forgets its reason",
        "_alarm",
        'reason = "flush_after" if collecting is None else collecting.reason',
        'reason: FlushReason = "flush_after"',
        FIRE,
    ),
    Mutant(
        "the batch swap is lost",
        "_flush_now",
        "data = _encode(Batches(flushing=frozen))",
        "data = _encode(attrs.evolve(batches_of(instance), flushing=frozen))",
        MAIL,
    ),
    Mutant(
        "the next batch has no alarm",
        "without_flushed",
        "data=_encode(Batches(collecting=batch)), alarm_ms=batch.flush_ms)",
        "data=_encode(Batches(collecting=batch)), alarm_ms=None)",
        MAIL,
    ),
    Mutant(
        "clear takes the batch that is being flushed",
        "_clear",
        "flushing = batches.flushing if is_running(instance, inputs) else None",
        "flushing = None",
        CLEAR,
    ),
    Mutant(
        "a run silences its schedule",
        "settled",
        "return instance.changed(**_armed(what, instance.address, ended, next_ms))",
        "return instance.changed(alarm_ms=None)",
        SILENT,
    ),
    Mutant(
        "the end of a triggered run is not noted",
        "settled",
        "attrs.evolve(ticks, missed=0, failed=None, last=last)",
        "attrs.evolve(ticks, missed=0, failed=None)",
        BETWEEN,
    ),
    Mutant(
        "a run that failed counts as one that succeeded",
        "given_up",
        'settled(what, instance, "failed", inputs)',
        'settled(what, instance, "succeeded", inputs)',
        LAST,
    ),
)
