"""What events add to the metrics: few labels, none of which is an id, whatever the events say."""

from __future__ import annotations

from typing import Any, get_args

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client import exposition as text_format
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from perdure.engine.sinks import SinkLag
from perdure.stores.values import Health, JobWork
from perdure.telemetry.prometheus import prometheus
from perdure.telemetry.prometheus.metrics import (
    COUNTED,
    LEAVINGS,
    METRICS,
    READ,
    Counting,
    Histogram,
    JobLabels,
    KnownJobs,
    Readings,
    Tally,
    samples,
)
from perdure.telemetry.prometheus.page import families, preferred
from perdure.values.errors import DefinitionError
from perdure.values.event import EVENT_TYPES, JobExecuted, JobFailed, JobLeft
from perdure.values.listings import InFlight, StatusCount, StoreCounts
from perdure.values.live_event import LIVE_EVENT_TYPES, AlarmFired, RequestEnded
from perdure.values.status import FailureRecord, Status

JOBS = KnownJobs({("task", "orders"): JobLabels(("task", "orders"), frozenset({"send"}))})
EVENTS: dict[str, Any] = {**EVENT_TYPES, **LIVE_EVENT_TYPES}
HOSTILE = st.sampled_from(['"} 1\nup 0', "\\", "\n", "é\x00", "x" * 5_000, ":", "send", "ok"]) | st.text(max_size=20)
ADDRESSES = st.sampled_from(["task:orders:customer-4711", "task:orders:a:b"]) | st.builds(
    "{}:{}:{}".format, *[HOSTILE] * 3
)


def event(cls: Any) -> st.SearchStrategy[Any]:
    """Any event of a class, with hostile text in each field of text, also where only a few words are allowed."""
    return st.builds(cls, **{field.name: value(field) for field in attrs.fields(cls) if field.init})


def value(field: Any) -> st.SearchStrategy[Any]:
    if field.name in {"address", "sender", "target"}:
        return ADDRESSES | HOSTILE
    form = str(field.type)
    if "FailureRecord" in form:
        return st.just(FailureRecord(form="defect", error_type="ValueError", message="customer-4711"))
    if "int" in form or "float" in form:
        return st.integers(0, 10**13)
    return st.just(()) if "tuple" in form else HOSTILE


@pytest.mark.parametrize("name", EVENTS)
def test_hostile_events_add_no_labels_but_those_of_definitions(name: str) -> None:
    @given(st.lists(event(EVENTS[name]), max_size=8))
    def check(events: list[Any]) -> None:
        tally = Tally()
        counting = Counting(JOBS, tally)
        for each in events:
            counting.on_event(each)
        for metric, by_labels in [*tally.counters.items(), *tally.histograms.items()]:
            for labels in by_labels:
                assert len(labels) == len(metric.labels)
                shown = dict(zip(metric.labels, labels, strict=True))
                assert (shown.get("kind", "task"), shown.get("job_name", "orders")) in {
                    ("task", "orders"),
                    ("other", "other"),
                }
                assert shown.get("action", "send") in {"send", "other"}
                assert all(each.isidentifier() for each in labels)

    check()


@given(HOSTILE)
def test_an_id_of_any_text_has_the_labels_of_its_job(id_: str) -> None:
    assert JOBS.at(f"task:orders:{id_}").values == ("task", "orders")
    assert JOBS.at(f"task:others:{id_}").values == JOBS.at(f"tasks:orders:{id_}").values == ("other", "other")


def test_instances_that_code_left_are_counted_by_the_class_of_the_problem() -> None:
    tally = Tally()
    counting = Counting(JOBS, tally)
    for reason in ("Diverged", "NewerOnly", "NewerOnly", "customer-4711"):
        counting.on_event(JobLeft(event_id="e", at_ms=0, address="task:orders:a", code="3f", error_type=reason))
    counted = {labels[2]: number for labels, number in tally.counters[LEAVINGS].items()}
    assert counted == {"Diverged": 1, "NewerOnly": 2, "other": 1}


@given(st.lists(st.floats(0, 100), max_size=30), st.lists(st.floats(0.001, 90), min_size=1, unique=True))
def test_a_histogram_counts_each_value_once_in_the_bucket_of_its_size(values: list[float], bounds: list[float]) -> None:
    histogram = Histogram(sorted(bounds))
    for each in values:
        histogram.observe(each)
    assert sum(histogram.counts) == len(values)
    assert histogram.sum == pytest.approx(sum(values))
    for number, bound in enumerate(sorted(bounds)):
        assert sum(histogram.counts[: number + 1]) == sum(each <= bound for each in values)


STATUSES = st.sampled_from(get_args(Status))
COUNTS = st.builds(
    StoreCounts,
    instances=st.lists(
        st.builds(
            StatusCount,
            kind=HOSTILE | st.just("task"),
            name=HOSTILE | st.just("orders"),
            status=STATUSES,
            number=st.integers(1, 9),
        )
    ).map(tuple),
    complete=st.booleans(),
    oldest_due_ms=st.none() | st.integers(0, 2_000),
)
READINGS = st.builds(
    Readings,
    now_ms=st.integers(0, 2_000),
    store=HOSTILE,
    health=st.none() | st.builds(Health, state=st.sampled_from(["ok", "degraded", "failed"])),
    counts=st.none() | COUNTS,
    demand=st.sampled_from([(), (JobWork(kind="task", name="orders", queued=1, due=2, messages=3, running=4),)]),
    in_flight=st.builds(InFlight, requests=st.integers(0, 9)),
    limits=st.dictionaries(HOSTILE, st.tuples(st.integers(0, 9), st.integers(0, 9))),
    lags=st.dictionaries(
        HOSTILE, st.builds(SinkLag, events=st.integers(0, 9), oldest_ms=st.none() | st.integers(0, 9))
    ),
)


@given(READINGS)
def test_readings_have_no_negative_value_and_no_label_of_a_job_that_is_not_served(readings: Readings) -> None:
    found = list(samples(readings, JOBS))
    assert len({(metric.name, labels) for metric, labels, _ in found}) == len(found)
    for metric, labels, number in found:
        assert number >= 0
        if "job_name" in metric.labels:
            assert labels[:2] in {("task", "orders"), ("other", "other")}
    instances = [number for metric, _, number in found if metric.name == "perdure_instances"]
    demand = {labels[2]: number for metric, labels, number in found if metric.name == "perdure_demand"}
    assert demand == ({"queued": 1, "due": 2, "messages": 3, "running": 4} if readings.demand else {})
    counts = readings.counts
    assert sum(instances) == (counts.total if counts is not None and counts.complete else 0)


@given(READINGS)
def test_the_official_parsers_read_back_each_sample(readings: Readings) -> None:
    tally = Tally()
    Counting(JOBS, tally).on_event(AlarmFired(at_ms=7, address="task:orders:1", due_ms=5))

    class Collector:
        def collect(self) -> Any:
            return families(tally, readings, JOBS)

    registry = CollectorRegistry()
    registry.register(Collector())
    expected = {(metric.name, labels): number for metric, labels, number in samples(readings, JOBS)}
    for encode, parse in (
        (text_format.generate_latest, parse_text),
        (openmetrics.generate_latest, parse_openmetrics),
    ):
        found = {
            (sample.name, tuple(sample.labels.values())): sample.value
            for family in parse(encode(registry).decode())
            for sample in family.samples
        }
        sorted_labels = {
            (name, tuple(value for _, value in sorted(zip(_labels(name), labels, strict=True)))): number
            for (name, labels), number in expected.items()
        }
        assert sorted_labels.items() <= found.items()
        assert found["perdure_alarm_lateness_seconds_sum", ("orders", "task")] == 0.002


def _labels(name: str) -> tuple[str, ...]:
    return next(metric.labels for metric in METRICS if metric.name == name)


def test_times_are_in_seconds() -> None:
    tally = Tally()
    Counting(JOBS, tally).on_event(
        RequestEnded(at_ms=1, address="task:orders:1", action="send", outcome="ok", waited_ms=1.0, took_ms=250.0)
    )
    ((labels, histogram),) = tally.histograms[COUNTED[1]].items()
    assert (labels, histogram.sum) == (("task", "orders", "send"), 0.25)


def test_a_superseded_retry_is_no_attempt() -> None:
    tally = Tally()
    counting = Counting(JOBS, tally)
    failure = FailureRecord(form="defect", error_type="ValueError", message="")
    of_run = {"event_id": "e", "at_ms": 1, "address": "task:orders:1", "run_id": "r", "attempt": 1, "delivery": 1}
    counting.on_event(JobFailed(**of_run, hook="superseded", duration_ms=0, error=failure))
    counting.on_event(JobFailed(**of_run, hook="execute", duration_ms=5, error=failure, retry_at_ms=9))
    counting.on_event(JobFailed(**of_run, hook="execute", duration_ms=5, error=failure))
    counting.on_event(JobExecuted(**of_run, cause="alarm", duration_ms=5))
    runs = next(by_labels for metric, by_labels in tally.counters.items() if metric.name == "perdure_runs_total")
    assert {labels[2]: number for labels, number in runs.items()} == {"completed": 1, "retrying": 1, "failed": 1}


def test_names_follow_the_conventions_of_prometheus() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS) == len(COUNTED) + len(READ)
    for metric in METRICS:
        assert metric.name.startswith("perdure_")
        assert metric.name.endswith("_total") == (metric.form == "counter")
        assert metric.form != "histogram" or metric.name.endswith(("_seconds", "_bytes"))
        assert not {"job", "instance", "le"} & set(metric.labels)
        assert metric.help.endswith(".")


@pytest.mark.parametrize(
    "buckets", [(), (0,), (-1, 2), (2, 1), (1, 1), (1, float("inf")), (float("nan"),), ("1",), (True,), range(1, 102)]
)
def test_bounds_of_buckets_ascend_from_above_zero(buckets: Any) -> None:
    with pytest.raises(DefinitionError, match="1 to 100 ascending numbers above 0"):
        prometheus(buckets=buckets)


def test_a_hundred_bounds_are_allowed() -> None:
    assert len(prometheus(buckets=range(1, 101)).buckets) == 100


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", "text/plain"),
        ("*/*", "text/plain"),
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3",
            "application/openmetrics-text",
        ),
        ("text/plain, application/openmetrics-text", "text/plain"),
        ("Application/OpenMetrics-Text; version=bad;;escaping=,", "application/openmetrics-text"),
        (",;=,\x00", "text/plain"),
    ],
)
def test_the_first_known_format_is_chosen(accept: str, wanted: str) -> None:
    assert preferred(accept) == wanted
