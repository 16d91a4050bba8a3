"""Portions of alarms: whatever happens, alarms get their turn, and never very many at once."""

from hypothesis import given
from hypothesis import strategies as st

from perdure.engine.portion import BUSY_MS, FIRST, LARGEST, MAX_PATIENCE, Portion
from perdure.values.address import Address


def fill(portion: Portion, start: int = 0) -> list[Address]:
    """Fire as many as there is room for."""
    fired: list[Address] = []
    while portion.has_room:
        fired.append(Address("task", "orders", str(start + len(fired))))
        portion.add(fired[-1])
    return fired


def nobody(_: Address) -> bool:
    return False


def everybody(_: Address) -> bool:
    return True


@given(st.lists(st.floats(0, 1_000), max_size=30))
def test_a_portion_that_never_ends_blocks_for_a_while_only(lateness: list[float]) -> None:
    """However late timers are, and whatever the alarms do, the next ones have their turn after some looks."""
    portion = Portion()
    fill(portion)
    for late_ms in lateness:
        portion.look(late_ms, nobody)
    for _ in range(MAX_PATIENCE):
        portion.look(BUSY_MS, nobody)
    assert portion.has_room


def test_a_busy_process_gets_a_small_portion_again() -> None:
    portion = Portion()
    for _ in range(5):
        fill(portion)
        portion.look(0, everybody)
    for _ in range(MAX_PATIENCE - 6):
        portion.look(BUSY_MS, nobody)
    portion.forget()
    assert len(fill(portion)) < 16 * FIRST
    portion.reset()
    portion.forget()
    assert len(fill(portion)) == FIRST


def test_alarms_that_wait_for_the_world_outside_leave_room_for_twice_as_many() -> None:
    portion, sizes = Portion(), list[int]()
    for _ in range(MAX_PATIENCE - 1):
        sizes.append(len(fill(portion)))
        portion.look(0, everybody)
    assert sizes[:4] == [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST]
    assert max(sizes) == LARGEST


def test_alarms_that_wait_for_the_disk_stay_in_the_portion_which_grows_by_and_by() -> None:
    portion = Portion()
    fill(portion)
    portion.look(0, nobody)
    assert len(fill(portion, start=FIRST)) == FIRST
