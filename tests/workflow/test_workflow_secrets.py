"""Tools show a workflow without its secrets."""

from __future__ import annotations

from typing import Annotated

import attrs
from flows import bodies
from returns.future import FutureResult

from perdure import App, Do, Secret, Signal, Workflow, WorkflowContext, effect, program
from perdure.jobs.redaction import redacted_instance
from perdure.programs import sleep
from perdure.testing import World


@attrs.frozen
class Card:
    owner: str
    number: Annotated[str, Secret]


card = Signal("card", Card)


@effect
def issued(services: object, owner: str) -> FutureResult[Card, str]:
    return FutureResult.from_value(Card(owner, "4242"))


@program
def paying(ctx: WorkflowContext[str]) -> Do[Card, str]:
    owner = yield from ctx.state
    new = yield from issued(owner)
    yield from sleep("1 hour")
    yield from card.receive()
    return new


job = Workflow("paying", state=str, run=paying, signals=(card,), keep=None)


def test_the_inbox_the_steps_and_the_outcome_are_shown_without_secrets() -> None:
    with World(App(None).with_jobs(job)) as world:
        flow = world.handle(job)
        world.unwrap(flow.start("p", "ada"))
        world.advance("1 second")
        world.unwrap(flow.signal("p", card, Card("ada", "1111")))
        for _ in range(2):
            instance = world.instance(job, "p")
            assert instance is not None
            assert "1111" in instance.data or "4242" in instance.data
            shown = redacted_instance(job, instance)
            steps = job.steps(shown, bodies(world, job, "p"))
            text = f"{shown.data} {[step.value for step in steps]} {job.facts_of(shown)}"
            assert "1111" not in text
            assert "4242" not in text
            assert "<secret>" in text
            world.advance("1 hour")
