"""How long a state machine explores a job: 200 examples of up to 50 steps of the order job, against its model.

Run it with ``python docs/benchmarks/job_machine.py``. Requests alone and at once, time, crashes and faults of effects
and commits are drawn; every law is checked after each step. Seconds of CPU, of three rounds with seeds of their own.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from attrs import frozen
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test
from returns.future import FutureResult

from perdure.examples.mail import MailBounced
from perdure.examples.order_processor import Order, decide_order, order_processor
from perdure.examples.token_refresher import AuthError, Token, token_refresher
from perdure.testing.machine import PHASES, JobMachine, Model

ROUNDS = 3


@frozen
class Mailer:
    """Sends every mail."""

    def send(self, message_id: str, to: str, text: str) -> FutureResult[None, MailBounced]:
        """Send a mail."""
        return FutureResult.from_value(None)


@frozen
class Auth:
    """Gives every token."""

    def refresh(self, refresh_token: str) -> FutureResult[Token, AuthError]:
        """Give a token."""
        return FutureResult.from_value(Token("token", datetime(2026, 1, 1, tzinfo=UTC)))


@frozen
class Services:
    """What the order job needs, and the job that it tells when an order ships."""

    mailer: Mailer = Mailer()
    auth: Auth = Auth()


machine = JobMachine(
    job=order_processor,
    services=Services,
    beside=(token_refresher,),
    types={int: st.integers(0, 500)},
    model=Model(Order(), decide_order),
    debug=False,
)
options = settings(
    max_examples=200,
    stateful_step_count=50,
    deadline=None,
    database=None,
    phases=PHASES,
    suppress_health_check=list(HealthCheck),
)


def main() -> None:
    """Measure."""
    for number in range(ROUNDS):
        steps = 0

        class Counted(machine.rules):  # type: ignore[name-defined,misc]
            """Counts its steps."""

            def check_invariants(self, *given: object) -> None:
                nonlocal steps
                steps += 1
                super().check_invariants(*given)

        began, used = time.perf_counter(), time.process_time()
        run_state_machine_as_test(seed(number)(Counted), settings=options)
        wall, cpu = time.perf_counter() - began, time.process_time() - used
        print(f"200 examples, {steps:,} steps: {wall:.1f} s, {cpu:.1f} s of CPU, {cpu / steps * 1e3:.2f} ms a step")


if __name__ == "__main__":
    main()
