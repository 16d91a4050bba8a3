"""How many turns of the engine a `World` takes on one core, over the memory store.

Run it with ``python docs/benchmarks/world.py``. Every figure is turns per second, the median of five rounds with the
range beside it. A request is a turn; so is an alarm that fires, and a message that is delivered.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from attrs import evolve, frozen
from returns.result import Result, Success

from perdure import App, Decision, Do, Task, TaskContext, effect, program, tell
from perdure.testing import World
from perdure.testing.world import Interleaving

ROUNDS = 5
TURNS = 2_000


@frozen
class Counter:
    """A small state."""

    total: int = 0


@frozen
class Added:
    """A small event."""

    amount: int = 1


@frozen
class Services:
    """One service that answers at once."""

    step: int = 1


@effect
def step(services: Services) -> Result[int, str]:
    """Call a service."""
    return Success(services.step)


def decide(state: Counter, event: Added) -> Result[Decision[Counter], str]:
    """Add, purely."""
    return Success(Decision(evolve(state, total=state.total + event.amount)))


@program
def with_effect(ctx: TaskContext[Counter], _: Added) -> Do[None, str, Services]:
    """Add what a service says: a claim, then one commit."""
    amount = yield from step()
    yield from ctx.update_state(lambda state: evolve(state, total=state.total + amount))


@program
def forward(ctx: TaskContext[Counter], event: Added) -> Do[None]:
    """Tell another instance."""
    yield from tell(decided, f"to-{ctx.id}").send(event)


@program
def rearm(ctx: TaskContext[Counter], _: Added) -> Do[None]:
    """Set the alarm."""
    yield from ctx.schedule(after="1 s")


@program
def tick(ctx: TaskContext[Counter]) -> Do[None]:
    """Count, and set the alarm again."""
    yield from ctx.update_state(lambda state: evolve(state, total=state.total + 1))
    yield from ctx.schedule(after="1 s")


decided = Task("decided", state=Counter, event=Added, initial=Counter(), decide=decide)
effects = Task("effects", state=Counter, event=Added, initial=Counter(), on_event=with_effect)
forwards = Task("forwards", state=Counter, event=Added, initial=Counter(), on_event=forward)
ticking = Task("ticking", state=Counter, event=Added, initial=Counter(), on_event=rearm, execute=tick)
app: App[Services] = App(Services()).with_jobs(decided, effects, forwards, ticking)


def one_by_one(world: World) -> int:
    """Ask, and wait for each answer: one instance after the other."""
    handle = world.handle(decided)
    for number in range(TURNS):
        world.run(handle.send(f"id-{number % 50}", Added()))
    return TURNS


def reaching_outside(world: World) -> int:
    """Ask for what performs an effect, behind a claim."""
    handle = world.handle(effects)
    for number in range(TURNS):
        world.run(handle.send(f"id-{number % 50}", Added()))
    return TURNS


def telling(world: World) -> int:
    """Ask for what sends a message: two turns each."""
    handle = world.handle(forwards)
    for number in range(TURNS // 2):
        world.run(handle.send(f"id-{number % 50}", Added()))
    return TURNS


def at_once(world: World) -> int:
    """Ask fifty times at the same moment."""
    handle = world.handle(decided)
    for _ in range(TURNS // 50):
        world.concurrently(*(handle.send(f"id-{number}", Added()) for number in range(50)))
    return TURNS


def by_alarm(world: World) -> int:
    """Let fifty alarms fire each second."""
    handle = world.handle(ticking)
    for number in range(50):
        world.run(handle.send(f"id-{number}", Added()))
    world.advance(f"{TURNS // 50} s")
    return TURNS + 50


def measure(name: str, work: Callable[[World], int], interleaving: Interleaving = "turns") -> None:
    """Print turns per second."""
    rates: list[float] = []
    for seed in range(ROUNDS):
        with World(app, seed=seed, interleaving=interleaving, debug=False) as world:
            began = time.process_time()
            turns = work(world)
            rates.append(turns / (time.process_time() - began))
    print(f"{name:56}{statistics.median(rates):10,.0f}/s  ({min(rates):,.0f} to {max(rates):,.0f})")


if __name__ == "__main__":
    measure("requests, one after the other, no effect", one_by_one)
    measure("requests, one after the other, one effect", reaching_outside)
    measure("requests that tell another instance", telling)
    measure("requests, fifty at once", at_once)
    measure("alarms, fifty a second", by_alarm)
    measure("requests, others may go first at every operation", one_by_one, "operations")
    measure("fifty at once, others may go first at every operation", at_once, "operations")
