"""The deadlines of a connection."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.server.connections import ConnectionState, Phase, Timeouts
from perdure.server.http_limits import RESERVED, HttpLimits, fitting, http_limits_of, make_room
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


def test_limits_are_read_from_text():
    found = http_limits_of(["connections=200", " idle_timeout = 5 minutes", "burst=7"])
    assert found == HttpLimits(connections=200, idle_timeout="5 minutes", burst=7)
    assert http_limits_of([]) == HttpLimits()


@pytest.mark.parametrize(
    "texts", [["connections"], ["connections=0"], ["connections=-1"], ["connections=1.5"], ["connections=\u0663"]]
)
def test_a_limit_that_cannot_be_read_is_refused(texts: list[str]):
    with pytest.raises(DefinitionError):
        http_limits_of(texts)


@pytest.mark.parametrize("texts", [["burst=1", "burst=1"], ["unknown=1"], ["=1"], [""], ["burst=" + "9" * 5_000]])
def test_a_name_is_that_of_a_limit_and_passed_once(texts: list[str]):
    with pytest.raises(DefinitionError) as refused:
        http_limits_of(texts)
    assert len(str(refused.value)) <= 1_000


@given(st.integers(1, 10_000), st.integers(0, 10_000), st.integers(0, 10_000))
def test_connections_leave_files_for_the_store(connections: int, soft: int, more: int):
    found = fitting(connections, soft=soft, hard=soft + more)
    assert soft <= found.soft <= soft + more
    assert 1 <= found.connections <= connections
    assert found.connections == 1 or found.connections + RESERVED <= found.soft
    if soft + more >= connections + RESERVED:
        assert found.connections == connections


def test_a_process_without_a_limit_keeps_its_connections():
    assert fitting(10**6, soft=-1, hard=-1).connections == 10**6
    assert make_room(1) == 1
