"""The options of a tracker: each check, and that no message shows a key."""

from typing import Any, cast

import pytest

from perdure.stores.rows import logged_event
from perdure.telemetry.tracker import tracker
from perdure.telemetry.tracker.batches import (
    EventsAccepted,
    EventsRefused,
    Misconfigured,
    NoResponse,
    Response,
    Unavailable,
    judge,
    outgoing,
)
from perdure.telemetry.tracker.exporter import reason_of
from perdure.values.errors import DefinitionError

URL = "https://events.example.com/v1"
KEY = "s3cret"


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "events.example.com",
            "ftp://host",
            "https://",
            "http://host:port",
            "https://host:99999",
            "http://host:0",
        ),
        *(f"https://user:{KEY}@host", f"https://host/#{KEY}", "https://höst", "https://host/a b", None, 5),
        *(f"https://[?{KEY}", f"ftp://host/?key={KEY}"),
    ],
)
def test_an_endpoint_that_is_not_a_url_is_refused(url: object) -> None:
    with pytest.raises(DefinitionError, match="endpoint of a tracker") as refused:
        tracker(cast("Any", url))
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    "options",
    [
        {"service_key": f"{KEY}\n"},
        {"service_key": f"{KEY}é"},
        {"service_key": ""},
        {"service_key": 5},
        {"headers": {"x key": KEY}},
        {"headers": {"x-key": f"{KEY}\r\nx: y"}},
        {"headers": {"Content-Length": KEY}},
        {"headers": {"x-key": KEY, "X-Key": KEY}},
        {"headers": {"Authorization": KEY}, "service_key": KEY},
        {"service": None},
        {"environment": 5},
        {"include": [str]},
        {"include": "job.started"},
        {"include": 5},
        {"start": "yesterday"},
        {"compression": True},
        {"batch_size": 0},
        {"batch_size": 1_001},
        {"batch_size": True},
        {"max_batch_bytes": 0},
        {"max_batch_bytes": 16 * 1024 * 1024 + 1},
        {"flush_interval": 5},
        {"flush_interval": "0 ms"},
        {"timeout": "soon"},
        {"backoff": "1s"},
        {"shutdown_timeout": None},
        {"name": ""},
        {"name": "a:b"},
        {"name": "a" * 65},
    ],
    ids=str,
)
def test_an_option_that_is_not_valid_is_refused(options: Any) -> None:
    with pytest.raises(DefinitionError) as refused:
        tracker(URL, **options)
    assert KEY not in str(refused.value)


def test_the_limits_of_options_are_accepted() -> None:
    for batch_size, max_bytes, name in ((1, 1, "a"), (1_000, 16 * 1024 * 1024, "a" * 64)):
        made = tracker(URL, batch_size=batch_size, max_batch_bytes=max_bytes, name=name)
        assert (made.options.batch_size, made.options.max_batch_bytes, made.name) == (batch_size, max_bytes, name)


def test_no_repr_shows_a_key() -> None:
    made = tracker(f"{URL}?token={KEY}", service_key=KEY, headers={"x-key": KEY})
    assert KEY not in repr(made)
    assert URL in repr(made)


NOW_MS = 1_767_225_600_000


@pytest.mark.parametrize(
    ("response", "verdict"),
    [
        *((Response(status), EventsAccepted) for status in (200, 202, 204)),
        *((Response(status), EventsRefused) for status in (400, 413, 415, 422)),
        *((Response(status), Unavailable) for status in (408, 425, 429, 500, 502, 503, 599)),
        *((Response(status), Misconfigured) for status in (301, 307, 401, 403, 404, 405, 410)),
        (NoResponse("reset"), Unavailable),
    ],
    ids=str,
)
def test_each_response_has_a_verdict(response: Response | NoResponse, verdict: type) -> None:
    assert type(judge(response, NOW_MS)) is verdict


@pytest.mark.parametrize(
    ("text", "wait_ms"),
    [
        *(("", 0), ("7", 7_000), ("3600", 3_600_000), ("3601", 3_600_000), ("9" * 40, 0), ("-1", 0), ("soon", 0)),
        *(("Thu, 01 Jan 2026 00:00:30 GMT", 30_000), ("Wed, 31 Dec 2025 00:00:00 GMT", 0), ("²", 0)),
        ("Fri, 01 Jan 2027 00:00:00 GMT", 3_600_000),
    ],
)
def test_a_wait_is_read_in_seconds_or_as_a_date(text: str, wait_ms: int) -> None:
    assert judge(Response(503, text), NOW_MS) == Unavailable("the endpoint answered 503", wait_ms)


@pytest.mark.parametrize(
    ("body", "event_id"),
    [('{"event_id":"e","new":1}', "e"), ("[]", "sequence-7"), ("{", "sequence-7"), ('{"event_id":5}', "sequence-7")],
)
def test_an_event_of_a_newer_version_is_exported(body: str, event_id: str) -> None:
    unread = logged_event(sequence=7, address="task:a:b", type_="job.invented", at_ms=NOW_MS, body=body)
    sent = outgoing(unread, done=7, origin={"service": "s"})
    assert (sent.event_id, sent.type, sent.sequence) == (event_id, "job.invented", 7)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("token s3cret is refused", "ValueError"),
        ("no server listens", "ValueError: no server listens"),
        ("", "ValueError"),
    ],
)
def test_the_reason_of_a_failed_request_shows_no_header(text: str, shown: str) -> None:
    options = tracker(URL, headers={"x-token": "token s3cret"}).options
    assert reason_of(ValueError(text), options) == shown
