"""Batches of alarms: whatever happens, the next ones get their turn.

Their purpose is in ``tests/behaviour/test_burst_of_alarms.py``.
"""

from hypothesis import given
from hypothesis import strategies as st

from perdure.engine.alarm_window import ALONE, BUSY_MS, FIRST, MAX_PATIENCE, AlarmWindow
from perdure.values.address import Address


def fill(window: AlarmWindow, start: int = 0) -> list[Address]:
    """Fire as many as there is room for."""
    fired: list[Address] = []
    while window.has_room:
        fired.append(Address("task", "orders", str(start + len(fired))))
        window.add(fired[-1])
    return fired


def never_waits(_: Address) -> bool:
    return False


def test_a_batch_is_large_without_requests_and_small_from_the_first_request_on() -> None:
    window = AlarmWindow(company="none")
    assert len(fill(window)) == ALONE
    window.company = "requests"
    assert not window.has_room
    assert not window.is_half_done
    assert len(fill(AlarmWindow(company="requests"))) == FIRST


@given(st.lists(st.floats(0, 1_000), max_size=30))
def test_a_batch_that_never_ends_blocks_for_a_while_only(lateness: list[float]) -> None:
    """However late timers are, and whatever the alarms do, the next ones have their turn after some looks."""
    window = AlarmWindow()
    fill(window)
    for late_ms in lateness:
        window.look(late_ms, never_waits)
    for _ in range(MAX_PATIENCE):
        window.look(BUSY_MS, never_waits)
    assert window.has_room
