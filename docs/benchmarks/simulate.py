"""What `perdure.testing.simulate` costs: run ``python docs/benchmarks/simulate.py``.

Each line is the best of several rounds, in one process: what is simulated in a second on one core.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from attrs import frozen
from hypothesis import HealthCheck, given, settings
from returns.future import FutureResult
from returns.result import Result, Success

from perdure import Do, effect, program
from perdure.examples.mail import MailBounced
from perdure.examples.order_processor import Order, Shipped, on_order_event, order_processor
from perdure.testing import FakeServices, every_fault, fake_services, hook_context, simulate

CALLS = 5_000
HOOKS = 500
ROUNDS = 5


@effect
def plus(services: int, value: int) -> Result[int, str]:
    """Call a service that answers at once."""
    return Success(services + value)


@effect
def plus_later(services: int, value: int) -> FutureResult[int, str]:
    """Call a service that answers with a `FutureResult`."""
    return FutureResult.from_value(services + value)


@program
def many(step: Callable[[int], object]) -> Do[int, str, int]:
    """Build and perform many effects in a do-block."""
    last = 0
    for number in range(CALLS):
        last = yield from step(number)  # type: ignore[misc] # either of the two above
    return last


@frozen
class Mailer:
    """Sends nothing."""

    @property
    def mailer(self) -> Mailer:
        """Serve as the whole services record."""
        return self

    def send(self, message_id: str, to: str, text: str) -> FutureResult[None, MailBounced]:
        """Pretend."""
        return FutureResult.from_value(None)


def hooks() -> None:
    """Simulate the handler of an order's event: one effect and four operations of its context."""
    stage = hook_context(order_processor, state=Order("paid", "ada", 100, 100))
    for _ in range(HOOKS):
        simulate(on_order_event(stage.ctx, Shipped("T-1")), Mailer(), on=stage)


def under_every_fault() -> int:
    """Simulate the same handler under each single fault."""
    stage = hook_context(order_processor, state=Order("paid", "ada", 100, 100))
    clean = simulate(on_order_event(stage.ctx, Shipped("T-1")), Mailer(), on=stage)
    plans = every_fault(clean)
    for plan in plans:
        simulate(on_order_event(stage.ctx, Shipped("T-1")), Mailer(), on=stage, faults=plan)
    return len(plans)


@settings(max_examples=HOOKS, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(fake_services())
def drawn(oracle: FakeServices) -> None:
    """Simulate the same handler, its answers drawn."""
    stage = hook_context(order_processor, state=Order("paid", "ada", 100, 100))
    simulate(on_order_event(stage.ctx, Shipped("T-1")), oracle, on=stage)


def measure(name: str, operations: int, run: Callable[[], object]) -> None:
    """Print the best of the rounds."""
    best = min(_seconds(run) for _ in range(ROUNDS))
    sys.stdout.write(f"{name:<62}{operations / best:10,.0f} /s\n")


def main() -> None:
    """Measure everything."""
    measure("effects, in one long program, Result", CALLS, lambda: simulate(many(plus), 1))
    measure("effects, in one long program, FutureResult", CALLS, lambda: simulate(many(plus_later), 1))
    measure("whole runs of a hook (1 effect, 4 context operations)", HOOKS, hooks)
    measure("whole runs of it, under every single fault", under_every_fault(), under_every_fault)
    measure("whole runs of it, answers drawn by hypothesis", HOOKS, drawn)


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
