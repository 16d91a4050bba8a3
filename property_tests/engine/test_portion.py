"""Portions of alarms: whatever happens, the next ones get their turn.

What portions are good for is in ``tests/behaviour/test_flood_of_alarms.py``.
"""

from hypothesis import given
from hypothesis import strategies as st

from perdure.engine.alarm_window import ALONE, BUSY_MS, FIRST, MAX_PATIENCE, AlarmWindow
from perdure.values.address import Address


def fill(portion: AlarmWindow, start: int = 0) -> list[Address]:
    """Fire as many as there is room for."""
    fired: list[Address] = []
    while portion.has_room:
        fired.append(Address("task", "orders", str(start + len(fired))))
        portion.add(fired[-1])
    return fired


def nobody(_: Address) -> bool:
    return False


def test_a_batch_is_large_without_requests_and_small_from_the_first_request_on() -> None:
    portion = AlarmWindow(company="none")
    assert len(fill(portion)) == ALONE
    portion.company = "requests"
    assert not portion.has_room
    assert not portion.is_half_done
    assert len(fill(AlarmWindow(company="requests"))) == FIRST


@given(st.lists(st.floats(0, 1_000), max_size=30))
def test_a_batch_that_never_ends_blocks_for_a_while_only(lateness: list[float]) -> None:
    """However late timers are, and whatever the alarms do, the next ones have their turn after some looks."""
    portion = AlarmWindow()
    fill(portion)
    for late_ms in lateness:
        portion.look(late_ms, nobody)
    for _ in range(MAX_PATIENCE):
        portion.look(BUSY_MS, nobody)
    assert portion.has_room
