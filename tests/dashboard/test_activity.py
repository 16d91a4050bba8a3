"""The last hour of an engine in memory: bounded, and independent of how it is watched."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.dashboard.overview import overdue_of
from perdure.telemetry.activity import (
    KEPT_FAILURES,
    KEPT_MINUTES,
    MAX_JOBS,
    MINUTE_MS,
    Activity,
    RecentFailure,
    failure_in,
)
from perdure.values.address import Address
from perdure.values.event import (
    JobExecuted,
    JobFailed,
    JobLeft,
    JobParked,
    JobPaused,
    JobRecovered,
    JobResumed,
    JobRetryExhausted,
    JobStarted,
    JobTerminated,
    MessageDeadLettered,
)
from perdure.values.instance import Instance
from perdure.values.live_event import AlarmFired
from perdure.values.status import FailureRecord

ERROR = FailureRecord(form="failure", error_type="NoStock", message="none left")
RUN = {"event_id": "e", "run_id": "r", "attempt": 1, "delivery": 1, "duration_ms": 1}


def executed(at_ms, address="task:orders:1"):
    return JobExecuted(at_ms=at_ms, address=address, cause="alarm", **RUN)


def failed(at_ms, address="task:orders:1"):
    return JobFailed(at_ms=at_ms, address=address, hook="execute", error=ERROR, **RUN)


instants = st.integers(0, 3 * KEPT_MINUTES * MINUTE_MS)
events = st.lists(st.builds(executed, instants) | st.builds(failed, instants), max_size=200)


@given(events.map(lambda found: sorted(found, key=lambda event: event.at_ms)), instants)
def test_each_event_of_the_last_hour_is_counted_in_its_minute(happened, now_ms):
    activity = Activity()
    for event in happened:
        activity.on_event(event)
    minutes = activity.minutes(now_ms)
    newest_ms = max((event.at_ms for event in happened), default=0)
    assert [minute.start_ms for minute in minutes] == sorted({minute.start_ms for minute in minutes})
    assert len(minutes) == KEPT_MINUTES
    for minute in minutes:
        if minute.start_ms > newest_ms - KEPT_MINUTES * MINUTE_MS:
            inside = [event for event in happened if event.at_ms // MINUTE_MS * MINUTE_MS == minute.start_ms]
            assert minute.executed == sum(isinstance(event, JobExecuted) for event in inside)
            assert minute.failed == sum(isinstance(event, JobFailed) for event in inside)


def test_nothing_in_memory_grows_without_a_limit():
    activity = Activity()
    for number in range(5_000):
        activity.on_event(failed(number * MINUTE_MS, address=f"task:job-{number}:1"))
        activity.on_event(JobStarted(event_id="e", at_ms=number * MINUTE_MS, address=f"task:job-{number}:1"))
    assert len(activity.troubles) == KEPT_FAILURES
    assert activity.troubles[0].at_ms == 4_999 * MINUTE_MS
    assert activity.steps("task", f"job-{MAX_JOBS - 1}") != {}
    assert activity.steps("task", f"job-{MAX_JOBS}") == {}
    assert sum(minute.failed for minute in activity.minutes(4_999 * MINUTE_MS)) == KEPT_MINUTES


def test_a_clock_that_went_back_counts_in_the_last_minute():
    activity = Activity()
    for at_ms in (5 * MINUTE_MS, 2 * MINUTE_MS):
        activity.on_event(executed(at_ms))
    assert [minute.executed for minute in activity.minutes(5 * MINUTE_MS)[-4:]] == [0, 0, 0, 2]


def test_a_clock_that_was_years_ahead_is_forgotten():
    activity, years_ms = Activity(), 10**11
    for at_ms in (years_ms, 2 * MINUTE_MS, 3 * MINUTE_MS, 3 * MINUTE_MS):
        activity.on_event(executed(at_ms))
    assert [minute.executed for minute in activity.minutes(3 * MINUTE_MS)[-3:]] == [0, 1, 2]


def test_the_lateness_of_a_minute_is_that_of_its_latest_alarm():
    activity = Activity()
    for due_ms in (700, 100, 990):
        activity.on_event(AlarmFired(at_ms=1_000, address="task:orders:1", due_ms=due_ms))
    assert activity.minutes(1_000)[-1].latest_ms == 900


HEADER = {"event_id": "e", "at_ms": 0, "address": "task:orders:1"}
RECOVERED = {"run_id": "r", "cause": "alarm", "attempt": 1, "delivery": 2, "recoveries": 1}
STEPS = [
    (JobStarted(**HEADER), ("new", "waiting")),
    (executed(0), ("running", "waiting")),
    (failed(0), ("running", "failed")),
    (attrs.evolve(failed(0), retry_at_ms=1), ("running", "retrying")),
    (JobRecovered(**HEADER, **RECOVERED), ("running", "running")),
    (JobParked(**HEADER, reason="recovery_exhausted"), ("running", "parked")),
    (JobLeft(**HEADER, code="3f"), ("waiting", "left")),
    (JobResumed(**HEADER, was="left"), ("left", "waiting")),
    (JobPaused(**HEADER), ("waiting", "paused")),
    (JobResumed(**HEADER, was="paused"), ("paused", "waiting")),
    (JobTerminated(**HEADER, reason="done"), ("waiting", "ended")),
]


@pytest.mark.parametrize(("event", "step"), STEPS, ids=lambda value: type(value).__name__)
def test_each_event_is_a_step_of_its_job(event, step):
    activity = Activity()
    activity.on_event(event)
    assert activity.steps("task", "orders") == {step: 1}


@given(st.lists(st.integers(0, 2_000)), st.integers(0, 1_000))
def test_no_instance_is_late_by_a_negative_time(alarms_ms, now_ms):
    rows = [
        Instance(
            address=Address("task", "orders", f"{number}"), created_ms=0, updated_ms=0, state="0", alarm_ms=alarm_ms
        )
        for number, alarm_ms in enumerate(alarms_ms)
    ]
    late = overdue_of(rows, now_ms)
    assert [each.late_ms for each in late] == [now_ms - alarm_ms for alarm_ms in alarms_ms if alarm_ms < now_ms]
    assert all(each.late_ms > 0 for each in late)


JOB = {"event_id": "e", "at_ms": 7, "address": "task:orders:1"}


@pytest.mark.parametrize(
    ("event", "error", "message"),
    [
        (failed(7), "NoStock", "none left"),
        (JobRetryExhausted(**JOB, run_id="r", attempt=3, reason="max_attempts", error=ERROR), "NoStock", "none left"),
        (
            MessageDeadLettered(**JOB, message_id=1, sender="task:a:1", action="send", deliveries=3, error=ERROR),
            "NoStock",
            "none left",
        ),
        (
            JobLeft(**JOB, code="c", error_type="NewerData", detail="a class of newer code"),
            "NewerData",
            "a class of newer code",
        ),
        (JobParked(**JOB, reason="not_retryable", detail="no such order"), "not_retryable", "no such order"),
    ],
    ids=lambda each: getattr(each, "type", ""),
)
def test_the_trouble_of_an_event_has_its_error_and_its_text(event, error, message):
    assert failure_in(event) == RecentFailure(
        at_ms=7, address="task:orders:1", type=event.type, error=error, message=message
    )


def test_other_events_are_no_trouble():
    assert failure_in(executed(7)) is None
