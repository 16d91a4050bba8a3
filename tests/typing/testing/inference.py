"""The inferred types of simulated runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Never, assert_type

from hypothesis import settings
from hypothesis.strategies import SearchStrategy

from perdure import App, Client, ContinuousContext, DebounceContext, TaskContext, succeed
from perdure.examples.mail import HasMailer, MailBounced
from perdure.examples.order_processor import IllegalTransition, Order, OrderEvent, on_order_event, order_processor
from perdure.examples.token_refresher import AuthError, TokenState, refresh_token, token_refresher
from perdure.examples.webhook_batcher import Batch, webhook_batcher
from perdure.jobs.call import Call
from perdure.jobs.definition import CallError
from perdure.jobs.explanation import Explained, Explanation
from perdure.testing import (
    Changes,
    Clock,
    FakeServices,
    Faults,
    HookContext,
    JobMachine,
    RedeliveryResult,
    Simulated,
    World,
    Worlds,
    examples_of,
    explain,
    fake_services,
    from_ms,
    from_type,
    hook_context,
    run_with_redelivery,
    simulate,
    to_ms,
)
from perdure.testing.machine import JobTestCase
from perdure.values.instance import Instance


def stages(order: Order, batch: Batch, tokens: TokenState) -> None:
    assert_type(hook_context(order_processor, state=order, event_count=1), HookContext[TaskContext[Order], Order])
    assert_type(
        hook_context(webhook_batcher, state=batch, flush_reason="manual"), HookContext[DebounceContext[Batch], Batch]
    )
    assert_type(
        hook_context(token_refresher, state=tokens, missed=1), HookContext[ContinuousContext[TokenState], TokenState]
    )


def machines() -> None:
    case = JobMachine(job=order_processor, services=object).TestCase
    case.settings = settings(case.settings, max_examples=500)
    assert_type(case, type[JobTestCase])
    assert_type(case.settings, settings)


def instants(at: datetime, world: World, worlds: Worlds) -> None:
    assert_type(to_ms(at), int)
    assert_type(from_ms(0), datetime)
    assert_type(worlds(world.app, clock=Clock()), World)


def runs(
    stage: HookContext[TaskContext[Order], Order], event: OrderEvent, mailer: HasMailer, fakes: FakeServices
) -> None:
    seen = simulate(on_order_event(stage.ctx, event), mailer, on=stage)
    assert_type(seen, Simulated[None, IllegalTransition | MailBounced, Order])
    assert_type(
        simulate(on_order_event(stage.ctx, event), fakes, on=stage),
        Simulated[None, IllegalTransition | MailBounced, Order],
    )
    assert_type(seen.committed, Changes[Order] | None)
    assert_type(seen.error(), IllegalTransition | MailBounced)
    assert_type(seen.alarm, datetime | None)
    assert_type(simulate(succeed(1), None), Simulated[int, Never, None])


def an_oracle_of_many_needs(stage: HookContext[ContinuousContext[TokenState], TokenState], fakes: FakeServices) -> None:
    assert_type(simulate(refresh_token(stage.ctx), fakes, on=stage), Simulated[None, AuthError, TokenState])


def repeats(
    run: Callable[[HookContext[TaskContext[Order], Order], Faults], Simulated[None, MailBounced, Order]],
    stage: HookContext[TaskContext[Order], Order],
) -> None:
    assert_type(run_with_redelivery(run, stage), RedeliveryResult[None, MailBounced, Order])


def values() -> None:
    assert_type(from_type(Order), SearchStrategy[Order])
    assert_type(examples_of(Order), tuple[Order, ...])
    assert_type(fake_services(), SearchStrategy[FakeServices])


def declarations(app: App[HasMailer], event: OrderEvent) -> None:
    declared = app.ensuring(order_processor, "order-1", lambda order: order.send(event))
    assert_type(declared, App[HasMailer])


def explanations(jobs: Client, event: OrderEvent, instance: Instance) -> None:
    asked = jobs.explain(order_processor, "order-1", lambda order: order.send(event))
    assert_type(asked, Call[Explanation, CallError])
    assert_type(jobs.explain(webhook_batcher, "ada", lambda batch: batch.flush()), Call[Explanation, CallError])
    assert_type(jobs.explain(token_refresher, "ada", "alarm"), Call[Explanation, CallError])
    assert_type(explain(order_processor, "order-1", lambda order: order.send(event), instance=instance), Explanation)
    assert_type(explain(order_processor, "order-1", lambda order: order.send(event), strict=True), Explained)
