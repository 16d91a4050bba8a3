"""The metrics of events: their labels hold no id, whatever the event."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.telemetry.opentelemetry.signals import INSTRUMENTS, LOST_LEASES, metric_values
from perdure.values.event import EVENT_TYPES, JobFailed
from perdure.values.failure import FailureRecord
from perdure.values.live_event import LIVE_EVENT_TYPES, EngineOverloaded, RequestEnded

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
            assert measured.value >= 0
            assert ID not in "".join(measured.labels.values())
            of_job = measured.instrument is not LOST_LEASES
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
