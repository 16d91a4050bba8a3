"""Batches of alarms: whatever happens, the next ones get their turn.

Their purpose is in ``tests/behaviour/test_burst_of_alarms.py``.
"""

from hypothesis import given
from hypothesis import strategies as st

from perdure.engine.loops.alarms import BUSY_MS, AlarmWindow
from perdure.runtime.record import DEFAULT_SIZES
from perdure.values.address import Address

FIRST, ALONE = DEFAULT_SIZES.alarm_window, DEFAULT_SIZES.alarm_window_alone
LARGEST, MAX_PATIENCE = DEFAULT_SIZES.max_alarm_window, DEFAULT_SIZES.alarm_looks


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


LOOKS = st.lists(st.sampled_from(["waits", "works", "busy", "settle", "reset", "refill"]), max_size=40)


@given(LOOKS)
def test_a_batch_grows_and_shrinks_as_the_model_says(story: list[str]) -> None:
    """Twice as large while runs wait outside, a little larger on a slow disk, half as large on a busy process."""
    window, size, looks = AlarmWindow[Address](), FIRST, 0
    fired = fill(window)
    for number, action in enumerate(story):
        match action:
            case "settle":
                for one in fired[: len(fired) // 2]:
                    window.settle(one)
                fired = fired[len(fired) // 2 :]
            case "reset":
                window.reset()
                size = FIRST
            case "refill":
                window.refill()
                looks = 0
            case _:
                looks += 1
                window.look(BUSY_MS if action == "busy" else 0, lambda _: action == "waits")  # noqa: B023 - at once
                if looks == MAX_PATIENCE:
                    looks, fired = 0, []
                elif action == "busy":
                    size = max(FIRST, size // 2)
                else:
                    before, fired = len(fired), [] if action == "waits" else fired
                    size = min(LARGEST, size * 2 if len(fired) < before // 2 else size + FIRST)
        if len(fired) < size:
            assert window.has_room
            fired += fill(window, 10_000 * (number + 1))
        assert not window.has_room
        assert size <= LARGEST


def test_the_largest_batch_has_a_bound() -> None:
    window = AlarmWindow[Address]()
    for number in range(9):
        fill(window, 10_000 * number)
        window.look(0, lambda _: True)
        window.refill()
    assert len(fill(window)) == LARGEST


@given(st.integers(2, 4))
def test_each_batch_that_never_ends_blocks_for_a_while_only(batches: int) -> None:
    """Not only the first one: the patience begins again with the next."""
    window = AlarmWindow[Address]()
    for number in range(batches):
        fill(window, 10_000 * number)
        for _ in range(MAX_PATIENCE - 1):
            window.look(BUSY_MS, never_waits)
            assert not window.has_room
        window.look(BUSY_MS, never_waits)
        assert window.has_room
