"""The steps of a delivery: accepted events arrive in order, and an event is skipped only by a working one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, repeat

import attrs
from hypothesis import given
from hypothesis import strategies as st

from perdure.telemetry.tracker.batches import (
    Advance,
    Blocked,
    EventsAccepted,
    EventsRefused,
    Outgoing,
    Send,
    body_of,
    delivery,
)


def page_of(sizes: list[int]) -> list[Outgoing]:
    return [
        Outgoing(event_id=str(number), type="t", address="a", sequence=number, done=number, body=b"x" * size)
        for number, size in enumerate(sizes, 1)
    ]


@attrs.define
class Model:
    """An endpoint that refuses some events; each request may also be refused for no reason of its events."""

    poison: set[int]
    moods: Iterator[bool]
    arrived: list[int] = attrs.Factory(list[int])
    skipped: list[int] = attrs.Factory(list[int])
    doubted: set[int] = attrs.Factory(set[int])  # refused alone, although a later event had been accepted
    done: int = 0
    sends: int = 0
    blocked: bool = False

    def run(self, page: list[Outgoing], batch_size: int, max_bytes: int) -> None:
        steps = delivery(page, batch_size=batch_size, max_bytes=max_bytes)
        verdict = None
        while True:
            try:
                step = steps.send(verdict)
            except StopIteration:
                return
            verdict = self._take(step, batch_size, max_bytes)

    def _take(self, step: object, batch_size: int, max_bytes: int) -> EventsAccepted | EventsRefused | None:
        match step:
            case Send(batch):
                self.sends += 1
                assert 1 <= len(batch) <= batch_size
                assert len(batch) == 1 or len(body_of(batch)) <= max_bytes
                numbers = [event.sequence for event in batch]
                assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
                if next(self.moods) or self.poison.intersection(numbers):
                    if numbers[1:] == [] and max(self.arrived, default=0) > numbers[0]:
                        self.doubted.add(numbers[0])
                    return EventsRefused("422")
                self.arrived += numbers
                return EventsAccepted()
            case Advance(done, skipped):
                assert done > self.done
                self.skipped += [event.sequence for event, _ in skipped]
                assert self.doubted.issuperset(self.skipped), "a working endpoint refused each skipped event"
                settled = set(self.arrived) | set(self.skipped)
                assert set(range(self.done + 1, done + 1)) <= settled, "nothing is passed over in silence"
                self.done = done
            case Blocked(event, _):
                self.blocked = True
                assert event.sequence == self.done + 1
            case _:
                raise AssertionError(step)
        return None


SIZES = st.lists(st.integers(1, 50), min_size=1, max_size=40)
BATCHES = st.sampled_from([1, 2, 3, 100])


@given(sizes=SIZES, poison=st.sets(st.integers(1, 40), max_size=6), batch_size=BATCHES, max_bytes=st.integers(1, 200))
def test_exactly_the_refused_events_are_skipped(
    sizes: list[int], poison: set[int], batch_size: int, max_bytes: int
) -> None:
    page, model = page_of(sizes), Model(poison, repeat(False))
    model.run(page, batch_size, max_bytes)
    numbers = {event.sequence for event in page}
    healthy = [number for number in numbers if number not in poison]
    last_taken = max(healthy, default=0)
    assert model.done == last_taken, "the position stops at the last event that was accepted"
    assert model.arrived == healthy, "accepted events arrive once, in order"
    assert set(model.skipped) == {number for number in numbers & poison if number < last_taken}
    assert model.blocked == (last_taken < len(page))
    assert model.sends <= 3 * len(page) + len(poison) * 10


@given(sizes=SIZES, batch_size=BATCHES)
def test_an_endpoint_that_refuses_everything_loses_nothing(sizes: list[int], batch_size: int) -> None:
    model = Model(set(), repeat(True))
    model.run(page_of(sizes), batch_size, 1_000)
    assert (model.done, model.skipped, model.blocked) == (0, [], True)


@given(sizes=SIZES, batch_size=BATCHES, moods=st.lists(st.booleans(), min_size=1, max_size=30))
def test_a_passed_event_arrived_or_is_reported(sizes: list[int], batch_size: int, moods: list[bool]) -> None:
    Model(set(), cycle(moods)).run(page_of(sizes), batch_size, 1_000)
