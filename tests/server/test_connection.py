"""The deadlines of a connection."""

import pytest

from perdure.server.connection import ConnectionState, Phase, Timeouts
from perdure.server.http_limits import HttpLimits
from perdure.values.errors import DefinitionError

TIMEOUTS = Timeouts.of(
    HttpLimits(idle_timeout="40 ms", header_timeout="10 ms", body_timeout="20 ms", write_timeout="30 ms")
)


@pytest.mark.parametrize(
    ("phase", "unread_since", "deadline"),
    [
        ("idle", None, 40),
        ("headers", None, 10),
        ("body", None, 20),
        ("discarding", None, 20),
        ("answering", None, None),
        ("answering", 5, 35),
        ("idle", 5, 35),
        ("headers", 5, 10),
    ],
)
def test_each_phase_has_its_deadline(phase: Phase, unread_since: float | None, deadline: float | None):
    assert ConnectionState(phase=phase, since_ms=0, unread_since_ms=unread_since).deadline_ms(TIMEOUTS) == deadline


def test_bytes_that_trickle_in_do_not_extend_a_phase():
    state = ConnectionState(phase="idle", since_ms=0)
    for now in range(1, 10):
        state = state.seen("headers", False, now)
    assert state.deadline_ms(TIMEOUTS) == 11
    assert state.seen("body", False, 10).deadline_ms(TIMEOUTS) == 30


def test_a_response_that_is_read_restarts_its_deadline():
    state = ConnectionState(phase="answering", since_ms=0).seen("answering", True, 1).seen("answering", True, 20)
    assert state.deadline_ms(TIMEOUTS) == 31
    assert state.seen("answering", False, 21).seen("answering", True, 22).deadline_ms(TIMEOUTS) == 52


@pytest.mark.parametrize(
    "name", ["body_bytes", "connections", "requests_per_second", "url_bytes", "write_buffer_bytes"]
)
@pytest.mark.parametrize("value", [0, -1, 1.0, True, "1"])
def test_a_limit_is_a_whole_number_from_1(name: str, value: object):
    with pytest.raises(DefinitionError, match=f"{name} of the HTTP limits"):
        HttpLimits(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["header_timeout", "body_timeout", "idle_timeout", "write_timeout"])
@pytest.mark.parametrize("value", ["0 ms", 5, "soon"])
def test_a_timeout_is_a_duration(name: str, value: object):
    with pytest.raises(DefinitionError, match=f"{name} of the HTTP limits"):
        HttpLimits(**{name: value})  # type: ignore[arg-type]
    assert getattr(HttpLimits(**{name: "2 minutes"}), name) == "2m"  # type: ignore[arg-type]
