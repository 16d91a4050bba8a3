"""Bugs in time, retries, schedules, the instance."""

from mutant import Mutant

TASK = "behaviour/test_task_machine.py::TestTaskMachine"
RETRY = "values/test_retry_laws.py"
SCHEDULE = "values/test_schedule_laws.py"
CRON = "values/test_cron_laws.py"

MUTANTS = (
    Mutant(
        "microseconds of a duration are dropped",
        "_read",
        "return -(-value // _MILLISECOND)",
        "return value // _MILLISECOND",
        "values/test_duration_laws.py::test_a_timedelta_is_rounded_up_by_less_than_a_millisecond",
    ),
    Mutant(
        "microseconds of an instant are dropped",
        "due_ms",
        "floor_ms + bool(instant.microsecond % 1000)",
        "floor_ms",
        "values/test_instant_laws.py::test_a_due_instant_is_less_than_a_millisecond_later_and_never_earlier",
    ),
    Mutant(
        "one retry too many",
        "Retry.after_defect",
        "if attempt >= self.max_attempts:",
        "if attempt > self.max_attempts:",
        f"{RETRY}::test_there_are_as_many_executions_as_allowed_and_no_more",
    ),
    Mutant(
        "a retry past max_duration",
        "Retry.after_defect",
        "elapsed_ms + delay_ms > self.max_duration_ms",
        "elapsed_ms > self.max_duration_ms",
        f"{RETRY}::test_no_retry_comes_later_than_max_duration_after_the_first_failure",
    ),
    Mutant(
        "jitter past the cap",
        "Retry._jittered_ms",
        "min(delay_ms + stagger_ms, self.delay.max_ms)",
        "delay_ms + stagger_ms",
        f"{RETRY}::test_a_retry_lies_within_a_tenth_of_its_delay_and_never_past_the_cap",
    ),
    Mutant(
        "retry_if is not called",
        "Retry.after_failure",
        "and not self.retry_if(error):",
        "and self.retry_if(error) is None:",
        f"{RETRY}::test_retry_if_only_ever_takes_retries_away",
    ),
    Mutant(
        "the first delay is the second",
        "Backoff.delay_ms",
        "failures_before = failed_attempt - 1",
        "failures_before = failed_attempt",
        "values/test_backoff_laws.py::test_the_first_delay_is_the_base",
    ),
    Mutant(
        "the timer is measured from the tick",
        "settle",
        "return ended_ms + schedule.interval_ms",
        "return nominal_ms + schedule.interval_ms",
        f"{SCHEDULE}::test_an_end_measured_interval_begins_when_the_run_ends",
    ),
    Mutant(
        "the stagger is counted twice",
        "settle",
        "max(nominal_ms, ended_ms - offset_ms)",
        "max(nominal_ms, ended_ms)",
        f"{SCHEDULE}::test_the_next_tick_is_the_first_that_is_left",
    ),
    Mutant(
        "dropped ticks are not counted",
        "due",
        "return Run(backlog.latest_ms(), backlog.later())",
        "return Run(backlog.latest_ms(), 0)",
        f"{SCHEDULE}::test_no_tick_is_run_twice_and_none_is_lost_uncounted",
    ),
    Mutant(
        "no grace for a tick that is hardly late",
        "_Backlog.skip",
        "self.until_ms - latest_ms <= grace_ms",
        "self.until_ms - latest_ms < 0",
        f"{SCHEDULE}::test_late_runs_follow_catch_up",
    ),
    Mutant(
        "one tick too many is caught up",
        "_Backlog.oldest_of",
        "self.later() + 1 - limit",
        "self.later() - limit",
        f"{SCHEDULE}::test_late_runs_follow_catch_up",
    ),
    Mutant(
        "every other tick of a grid is left out",
        "Grid.after",
        "return self._tick(self._number(instant_ms) + 1)",
        "return self._tick(self._number(instant_ms) + 2)",
        f"{SCHEDULE}::test_the_next_tick_is_the_first_that_is_left",
    ),
    Mutant(
        "a shift reaches the next tick",
        "shift_ms",
        '"big") % stagger_ms',
        '"big") % stagger_ms + stagger_ms',
        f"{SCHEDULE}::test_an_alarm_never_reaches_the_next_tick",
    ),
    Mutant(
        "the repeated hour runs at its second time",
        "CronTicks._once_ms",
        "return instants[0] if instants else",
        "return instants[-1] if instants else",
        f"{CRON}::test_the_ticks_are_those_of_the_laws",
    ),
    Mutant(
        "a time in the gap runs an hour late",
        "CronTicks._once_ms",
        "else after_gap_ms(wall, self.zone)",
        "else after_gap_ms(wall, self.zone) + 3_600_000",
        f"{CRON}::test_the_ticks_are_those_of_the_laws",
    ),
    Mutant(
        "a cron line fires in the present",
        "CronTicks._rising",
        "bisect_right(ticks_ms, after_ms)",
        "bisect_left(ticks_ms, after_ms)",
        f"{CRON}::test_the_next_ticks_are_the_first_in_the_future_at_every_query",
    ),
    Mutant(
        "the alarm of a paused instance fires",
        "Instance.due_ms",
        "if self.suspension is not None or self.lane is not None or self.left is not None:",
        "if self.lane is not None or self.left is not None:",
        TASK,
    ),
    Mutant(
        "the instant of a retry is forgotten",
        "Instance.due_ms",
        "self.pending_retry.at_ms",
        "self.alarm_ms",
        TASK,
    ),
)
