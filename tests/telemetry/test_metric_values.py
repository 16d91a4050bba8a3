"""The metrics of events: their labels hold no id, whatever the event; and Prometheus's gauges."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.engine.sinks import SinkLag
from perdure.stores.values import Health
from perdure.telemetry.opentelemetry.signals import INSTRUMENTS, LOOP_BLOCKED, LOST_LEASES, metric_values
from perdure.telemetry.prometheus import metrics
from perdure.telemetry.prometheus.metrics import Counting, JobLabels, KnownJobs, LabelValues, Metric, Readings, Tally
from perdure.values.event import EVENT_TYPES, JobExecuted, JobFailed, JobLeft, JobParked, JobRecovered, JobStarted
from perdure.values.listings import InFlight, StatusCount, StoreCounts
from perdure.values.live_event import (
    LIVE_EVENT_TYPES,
    AlarmFired,
    EngineOverloaded,
    LeaseLost,
    MessageDelivered,
    RequestEnded,
    RunClaimed,
    StoreCommitted,
)
from perdure.values.status import FailureRecord

ID = "customer-4711"
EVENTS: dict[str, Any] = {**EVENT_TYPES, **LIVE_EVENT_TYPES}


def event(cls: Any, **given_fields: object) -> st.SearchStrategy[Any]:
    """Any event of a class whose texts all contain the id, save those that are chosen from a few."""
    fields = {
        field.name: st.just(given_fields[field.name]) if field.name in given_fields else value(field)
        for field in attrs.fields(cls)
        if field.init
    }
    return st.builds(cls, **fields)


def value(field: Any) -> st.SearchStrategy[Any]:
    name, form = field.name, str(field.type)
    if name in {"address", "sender", "target"}:
        return st.sampled_from([f"task:orders:{ID}", f"debounce:piles:{ID}:a"])
    if name == "error" and "FailureRecord" in form:
        return st.just(FailureRecord(form="defect", error_type="ValueError", message=ID))
    if name == "queue":
        return st.sampled_from([f"mailbox of task:orders:{ID}", "the engine's queue"])
    if name in {"action", "outcome", "error", "cause", "reason", "hook", "was", "error_type"}:
        return st.sampled_from(["send", "ok", "ValueError"])
    return st.integers(0, 10**13) if "int" in form or "float" in form else st.just(() if "tuple" in form else ID)


@pytest.mark.parametrize("name", EVENTS)
def test_no_label_holds_an_id(name: str) -> None:
    @given(event(EVENTS[name]))
    def check(given_event: Any) -> None:
        for measured in metric_values(given_event):
            assert measured.instrument in INSTRUMENTS
            assert measured.value == 1 if measured.instrument.form == "counter" else measured.value >= 0
            assert ID not in "".join(measured.labels.values())
            of_job = measured.instrument not in {LOST_LEASES, LOOP_BLOCKED}
            assert not of_job or {"perdure.kind", "perdure.job"} <= measured.labels.keys()

    check()


@given(event(RequestEnded, address=f"task:orders:{ID}", action="send", outcome="failed", error="ValueError"))
def test_a_request_is_measured_in_seconds(ended: RequestEnded) -> None:
    took, waited = metric_values(ended)
    assert (took.value, waited.value) == (ended.took_ms / 1_000, ended.waited_ms / 1_000)
    assert took.labels == {
        "perdure.kind": "task",
        "perdure.job": "orders",
        "perdure.action": "send",
        "perdure.outcome": "failed",
        "error.type": "ValueError",
    }


@given(event(EngineOverloaded))
def test_a_queue_is_named_without_its_instance(overloaded: EngineOverloaded) -> None:
    (measured,) = metric_values(overloaded)
    assert measured.labels["perdure.queue"] == ("engine" if "engine" in overloaded.queue else "mailbox")


@given(event(JobFailed, hook="superseded"))
def test_a_superseded_retry_is_not_a_run(failed: JobFailed) -> None:
    assert metric_values(failed) == ()


def test_every_instrument_has_a_name_of_its_own() -> None:
    assert len({instrument.name for instrument in INSTRUMENTS}) == len(INSTRUMENTS)
    assert all(instrument.name.startswith("perdure.") for instrument in INSTRUMENTS)


# ---------------------------------------------------------------- Prometheus
JOBS = KnownJobs({("task", "orders"): JobLabels(("task", "orders"), frozenset({"send"}))})
OF_JOB = ("task", "orders")
NO_JOB = ("other", "other")


@given(st.data(), st.sampled_from([f"task:orders:{ID}", f"task:unserved:{ID}"]), st.sampled_from(["known", "unknown"]))
def test_prometheus_counts_each_event_once_under_its_job(data: st.DataObject, address: str, texts: str) -> None:
    """A text that is not known is counted as ``other``, and only the metrics of the event change."""
    job = OF_JOB if address.startswith("task:orders") else NO_JOB
    is_known = texts == "known"

    def drawn(cls: Any, **fields: object) -> Any:
        return data.draw(event(cls, **{"address": address, **fields} if "address" in cls_fields(cls) else fields))

    def word(known: str) -> tuple[str, str]:
        return (known, known) if is_known else (ID, "other")

    action, counted_action = ("send", "send") if is_known and job == OF_JOB else (ID, "other")
    (outcome, counted_outcome), (cause, counted_cause) = word("ok"), word("alarm")
    (reason, counted_reason), (error, counted_error) = word("retries_exhausted"), word("InvalidInput")
    (committed, counted_commit), (delivered, counted_delivery) = word("committed"), word("consumed")
    retry_at_ms = data.draw(st.none() | st.just(1))
    cases: list[tuple[Any, dict[Metric, LabelValues]]] = [
        (
            drawn(RequestEnded, action=action, outcome=outcome),
            {
                metrics.REQUESTS: (*job, counted_action, counted_outcome),
                metrics.REQUEST_DURATION: (*job, counted_action),
            },
        ),
        (
            drawn(StoreCommitted, outcome=committed),
            {metrics.COMMITS: (counted_commit,), metrics.COMMIT_DURATION: (), metrics.COMMIT_SIZE: ()},
        ),
        (drawn(RunClaimed, cause=cause), {metrics.CLAIMS: (*job, counted_cause)}),
        (drawn(JobExecuted), {metrics.RUNS: (*job, "completed"), metrics.RUN_DURATION: job}),
        (
            drawn(JobFailed, hook="execute", retry_at_ms=retry_at_ms),
            {metrics.RUNS: (*job, "failed" if retry_at_ms is None else "retrying"), metrics.RUN_DURATION: job},
        ),
        (drawn(JobFailed, hook="superseded"), {}),
        (drawn(JobRecovered), {metrics.RECOVERIES: job}),
        (drawn(JobParked, reason=reason), {metrics.PARKINGS: (*job, counted_reason)}),
        (drawn(JobLeft, error_type=error), {metrics.LEAVINGS: (*job, counted_error)}),
        (drawn(AlarmFired), {metrics.LATENESS: job}),
        (drawn(EngineOverloaded, queue=f"mailbox of {address}"), {metrics.OVERLOADS: (*job, "mailbox")}),
        (drawn(EngineOverloaded, queue="engine"), {metrics.OVERLOADS: (*job, "engine")}),
        (drawn(MessageDelivered, target=address, outcome=delivered), {metrics.DELIVERIES: (*job, counted_delivery)}),
        (drawn(LeaseLost), {metrics.LOST_LEASES: ()}),
        (drawn(JobStarted), {}),
    ]
    for happened, expected in cases:
        assert counted(happened) == expected, happened


def counted(happened: Any) -> dict[Metric, LabelValues]:
    """Return the metrics that an event changes, each with its labels. Each is changed once."""
    before, after = Tally(), Tally()
    Counting(JOBS, before)
    Counting(JOBS, after).on_event(happened)
    found: dict[Metric, LabelValues] = {}
    for metric, counts in after.counters.items():
        for labels, number in counts.items():
            if number != before.counters[metric].get(labels, 0):
                assert number == 1
                assert metric not in found
                found[metric] = labels
    for metric, histograms in after.histograms.items():
        for labels, histogram in histograms.items():
            assert sum(histogram.counts) == 1
            assert metric not in found
            found[metric] = labels
    return found


def cls_fields(cls: Any) -> set[str]:
    return {field.name for field in attrs.fields(cls)}


@given(
    st.tuples(
        event(AlarmFired, at_ms=3_500, due_ms=2_000),
        event(AlarmFired, at_ms=1_000, due_ms=2_000),
        event(StoreCommitted, took_ms=250, size_bytes=700),
        event(JobExecuted, duration_ms=4_000),
    )
)
def test_prometheus_measures_seconds_and_bytes(happened: tuple[Any, ...]) -> None:
    tally = Tally()
    for each in happened:
        Counting(JOBS, tally).on_event(each)
    sums = {metric: sum(each.sum for each in found.values()) for metric, found in tally.histograms.items()}
    assert (
        sums[metrics.LATENESS],
        sums[metrics.COMMIT_DURATION],
        sums[metrics.COMMIT_SIZE],
        sums[metrics.RUN_DURATION],
    ) == (1.5, 0.25, 700, 4)


def test_the_gauges_of_an_engine_on_a_shared_store() -> None:
    counts = StoreCounts(
        instances=(StatusCount("task", "orders", "idle", 3), StatusCount("task", "unserved", "idle", 2)),
        oldest_due_ms=4_000,
        messages=5,
        dead_letters=6,
    )
    readings = Readings(
        now_ms=10_000,
        version="1.2",
        store="postgresql://",
        health=Health(state="degraded", file_bytes=7, log_bytes=8, cache_bytes=9, max_cache_bytes=10),
        counts=counts,
        epoch=2,
        members={1: 0.25, 2: 0.75},
        in_flight=InFlight(requests=11),
        limits={"phones": (3, 4)},
        lags={"tracker": SinkLag(events=12, oldest_ms=8_000, problem="down")},
    )
    found = {
        (metric.name.removeprefix("perdure_"), labels): number
        for metric, labels, number in metrics.samples(readings, JOBS)
    }
    assert found == {
        ("info", ("1.2", "postgresql://")): 1,
        **{("in_flight", (work,)): 11 if work == "requests" else 0 for work in metrics.WORK},
        ("limit_in_use", ("phones",)): 3,
        ("limit_waiting", ("phones",)): 4,
        ("store_up", ()): 1,
        ("store_degraded", ()): 1,
        ("store_file_bytes", ()): 7,
        ("store_wal_bytes", ()): 8,
        ("store_cache_bytes", ()): 9,
        ("store_cache_limit_bytes", ()): 10,
        ("store_members", ()): 2,
        ("store_share", ()): 0.75,
        ("counts_complete", ()): 1,
        ("oldest_due_alarm_age_seconds", ()): 6,
        ("waiting_messages", ()): 5,
        ("dead_letters", ()): 6,
        ("instances", (*OF_JOB, "idle")): 3,
        ("instances", (*NO_JOB, "idle")): 2,
        ("sink_lag_events", ("tracker",)): 12,
        ("sink_lag_seconds", ("tracker",)): 2,
        ("sink_failing", ("tracker",)): 1,
    }
    away = attrs.evolve(readings, epoch=3, health=None, counts=attrs.evolve(counts, complete=False))
    names = {metric.name.removeprefix("perdure_"): number for metric, _, number in metrics.samples(away, JOBS)}
    assert (names["store_share"], names["store_up"], names["counts_complete"]) == (0, 0, 0)
    assert "instances" not in names, "partial counts look like a loss"
    assert "store_file_bytes" not in names
