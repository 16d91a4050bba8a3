"""An engine of a shared store decides on rows that it has kept, and no answer rests on one that is out of date."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from hypothesis import example, given
from hypothesis import strategies as st
from returns.result import Failure, Result, Success

from perdure import App, Do, Task, TaskContext, attempt, effect, fail, program
from perdure.client.client import Client
from perdure.stores.contract import Store, overlay
from perdure.stores.memory.opening import SharedMemoryBackend
from perdure.stores.values import LoadRequest
from perdure.values.transition import Transition


@attrs.frozen
class Moved:
    """An amount, paid in or out; ``noted`` writes to a ledger first, ``broken`` raises."""

    amount: int
    how: str = "plain"


@attrs.define
class Ledger:
    seen: list[int] = attrs.Factory(list[int])


@effect
def note(ledger: Ledger, total: int) -> Result[None, str]:
    ledger.seen.append(total)
    return Success(None)


@program
def move(ctx: TaskContext[int], event: Moved) -> Do[None, str, Ledger]:
    total = yield from ctx.state
    if total + event.amount < 0:
        yield from fail(f"only {total}")
    if event.how == "broken":
        raise ValueError(event.how)
    if event.how == "noted":
        yield from note(total + event.amount)
    yield from ctx.set_state(total + event.amount)


@program
def execute(ctx: TaskContext[int]) -> Do[None]:
    yield from ctx.update_state(lambda total: total)


accounts = Task("accounts", state=int, event=Moved, initial=0, on_event=move, execute=execute)

Call = tuple[int, str, Moved | None]
CALLS = st.tuples(
    st.integers(0, 1),
    st.sampled_from("ab"),
    st.one_of(st.none(), st.builds(Moved, st.integers(-3, 3), st.sampled_from(("plain", "noted")))),
)


def backend_of_tests() -> SharedMemoryBackend:
    return SharedMemoryBackend(lambda: 0.0)  # no lease ends


async def apply(jobs: Client, id_: str, event: Moved | None) -> bool:
    handle = jobs.handle(accounts)
    if event is None:
        await handle.terminate(id_)
        return True
    return isinstance(await attempt(handle.send(id_, event)), Success)


@example([(0, "a", Moved(1)), (1, "a", Moved(2)), (0, "a", Moved(-3))])
@example([(0, "a", Moved(2)), (1, "a", Moved(-2)), (0, "a", Moved(-1)), (0, "a", Moved(1, "noted"))])
@example([(0, "a", Moved(2)), (1, "a", None), (0, "a", Moved(-1)), (0, "a", Moved(1))])
@given(st.lists(CALLS, max_size=12))
def test_each_answer_is_that_of_the_stored_row(calls: list[Call]) -> None:
    backend, ledger, totals, noted = backend_of_tests(), Ledger(), dict[str, int](), list[int]()

    async def main() -> None:
        app = App(ledger).with_jobs(accounts)
        async with app.open(backend.open()) as one, app.open(backend.open()) as other:
            for which, id_, event in calls:
                before = totals.get(id_, 0)
                expected = event is None or before + event.amount >= 0
                assert await apply((one, other)[which], id_, event) is expected
                if event is None:
                    totals.pop(id_, None)
                elif expected:
                    totals[id_] = before + event.amount
                    noted.extend([totals[id_]] if event.how == "noted" else [])
            for id_ in "ab":
                assert (await one.handle(accounts).get_state(id_) or 0) == totals.get(id_, 0)

    asyncio.run(main())
    assert ledger.seen == noted


def counting(store: Store, loads: list[str]) -> Store:
    """Return a store that notes which instances are read for turns."""
    load = store.load

    def counted(requests: Sequence[LoadRequest], answered: object) -> None:
        loads.extend(request.address.id for request in requests)
        load(requests, answered)  # type: ignore[arg-type]

    return overlay(store, load=counted)


def test_a_row_that_was_kept_is_not_read_again_while_others_leave_it_alone() -> None:
    async def main() -> None:
        loads, backend, app = list[str](), backend_of_tests(), App(Ledger()).with_jobs(accounts)
        async with app.open(counting(backend.open(), loads)) as here, app.open(backend.open()) as there:
            for _ in range(20):
                await apply(here, "a", Moved(1))
            assert loads == ["a"]
            await apply(there, "a", Moved(1))
            await apply(here, "a", Moved(1))  # refused once, and decided on the stored row
            assert loads == ["a", "a"]
            for _ in range(30):
                await apply(there, "a", Moved(1))
                await apply(here, "a", Moved(1))
            loads.clear()
            for _ in range(10):
                await apply(there, "a", Moved(1))
                await apply(here, "a", Moved(1))
            assert loads == ["a"] * 10
            assert await here.handle(accounts).get_state("a") == 20 + 2 + 60 + 20

    asyncio.run(main())


def test_no_answer_rests_on_the_row_that_a_failed_turn_has_read_before() -> None:
    """The commit of a turn that fails compares no version, and while it waits another engine writes the instance."""
    held: list[Callable[[], None]] = []

    def holding(store: Store, state: list[str]) -> Store:
        commit = store.commit

        def held_back(transitions: Sequence[Transition], answered: Callable[[Sequence[Any]], None]) -> None:
            if state:
                held.append(lambda: commit(transitions, answered))
            else:
                commit(transitions, answered)

        return overlay(store, commit=held_back, synchronous=False)

    async def main() -> None:
        backend, app, state = backend_of_tests(), App(Ledger()).with_jobs(accounts), list[str]()
        async with app.open(holding(backend.open(), state)) as here, app.open(backend.open()) as there:
            calls = here.handle(accounts)
            await calls.send("a", Moved(1))
            state.append("held")
            first = asyncio.ensure_future(attempt(calls.send("b", Moved(1))))
            await some_steps()
            assert held
            broken = asyncio.ensure_future(attempt(calls.send("a", Moved(1, "broken"))))
            await some_steps()  # it is decided, and waits for the group before
            await there.handle(accounts).send("a", Moved(2))
            taken = asyncio.ensure_future(attempt(calls.send("a", Moved(-3))))
            await some_steps()
            state.clear()
            held.pop()()
            assert isinstance(await first, Success)
            assert isinstance(await broken, Failure)
            assert isinstance(await taken, Success)

    asyncio.run(main())


async def some_steps() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_request_with_a_key_reads_the_key() -> None:
    async def main() -> None:
        backend, app = backend_of_tests(), App(Ledger()).with_jobs(accounts)
        async with app.open(backend.open()) as here, app.open(backend.open()) as there:
            await here.handle(accounts).send("a", Moved(1), idempotency_key="k")
            first = await attempt(there.handle(accounts).send("a", Moved(1), idempotency_key="k"))
            again = await attempt(here.handle(accounts).send("a", Moved(1), idempotency_key="k"))
            assert first == again
            assert not isinstance(again, Failure)
            assert await here.handle(accounts).get_state("a") == 1

    asyncio.run(main())
