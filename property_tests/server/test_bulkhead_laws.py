"""A bulkhead beside a model: its limits, the turns of its clients, and that nothing is lost or left behind."""

import asyncio
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.server.admission import Bulkhead, ClientGone
from perdure.values.errors import Overloaded

CLIENTS = "abc"

operations = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.sampled_from(CLIENTS), st.integers(1, 2)),
        st.tuples(st.just("end"), st.integers(0, 20), st.just(0)),
        st.tuples(st.just("cancel"), st.integers(0, 20), st.just(0)),
        st.tuples(st.just("leave"), st.integers(0, 20), st.just(0)),
        st.tuples(st.just("race"), st.integers(0, 20), st.just(0)),
    ),
    max_size=40,
)
limits = st.tuples(st.integers(2, 4), st.integers(2, 3), st.integers(0, 5), st.integers(0, 3))


@given(limits, operations)
def test_limits_hold_and_clients_take_turns(limits: tuple[int, int, int, int], drawn: list[tuple[str, Any, int]]):
    limit, of_one, waiting, waiting_of_one = limits

    async def main() -> None:
        shared = Bulkhead(
            name="shared",
            limit=limit,
            of_one=of_one,
            waiting=waiting,
            waiting_of_one=waiting_of_one,
            runtime=asyncio_runtime(),
        )
        works = list[Work]()
        for operation in drawn:
            act(shared, works, *operation)
            await settled()
            check(shared, works)
        for _ in range(len(works)):
            for work in works:
                work.ended.set()
            await settled()
        await asyncio.gather(*(work.task for work in works), return_exceptions=True)
        assert (shared.held, shared.queued) == (0, 0)
        assert all(work.overtaken <= len(CLIENTS) - 1 for work in works)

    asyncio.run(main())


def act(shared: Bulkhead, works: "list[Work]", operation: str, chosen: Any, weight: int) -> None:
    """Do one drawn operation."""
    inside, outside = [work for work in works if work.inside], [work for work in works if work.waits]
    match operation:
        case "enter":
            works.append(Work(shared, chosen, weight, works))
        case "end" if inside:
            inside[chosen % len(inside)].ended.set()
        case "cancel" if outside:
            outside[chosen % len(outside)].task.cancel()
        case "leave" if outside:
            outside[chosen % len(outside)].gone.set()
        case "race" if inside and outside:  # a place becomes free in the step in which its next owner gives up
            inside[0].ended.set()
            outside[chosen % len(outside)].task.cancel()
        case _:
            pass


def check(shared: Bulkhead, works: "list[Work]") -> None:
    """Compare it with the work that it admitted."""
    inside = [work for work in works if work.inside]
    assert shared.held == sum(work.weight for work in inside) <= shared.limit
    for client in CLIENTS:
        own = sum(work.weight for work in inside if work.client == client)
        assert shared.held_by(client) == own <= shared.of_one
    outside = Counter(work.client for work in works if work.waits)
    assert shared.queued == outside.total() <= shared.waiting
    assert all(count <= shared.waiting_of_one for count in outside.values())


async def settled() -> None:
    """Let the event loop run until nothing changes."""
    for _ in range(8):
        await asyncio.sleep(0)


class Work:
    """One piece of work, and how often the others of a client were admitted while its own client waited in front."""

    def __init__(self, shared: Bulkhead, client: str, weight: int, others: "list[Work]") -> None:
        self.client, self.weight, self.others = client, weight, others
        self.inside = self.waits = False
        self.overtaken = 0
        self.ended, self.gone = asyncio.Event(), asyncio.Event()
        self.task = asyncio.ensure_future(self.run(shared))

    async def run(self, shared: Bulkhead) -> None:
        self.waits = True
        try:
            await shared.enter(self.client, self.weight, left=self.gone.wait)  # type: ignore[arg-type]
        except (Overloaded, ClientGone):
            return
        finally:
            self.waits = False
        if self.gone.is_set():
            shared.release(self.client, self.weight)
            return
        self.inside = True
        for other in self.others:
            if other.waits and other.client != self.client and other.is_first() and other.could_enter(shared):
                other.overtaken += 1
        await self.ended.wait()
        self.inside = False
        shared.release(self.client, self.weight)

    def is_first(self) -> bool:
        """Return whether nothing of the same client waits before it."""
        return next(work for work in self.others if work.waits and work.client == self.client) is self

    def could_enter(self, shared: Bulkhead) -> bool:
        """Return whether it waits for the other clients, and not for work of its own."""
        return shared.held_by(self.client) + self.weight <= shared.of_one
