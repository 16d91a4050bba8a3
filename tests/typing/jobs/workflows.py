"""The inferred types of workflows: definition, handle, sender, children, signals and outcomes."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_type

from perdure import Client, Do, Program, Signal, Workflow, WorkflowContext, patched, program, step, step_key, tell
from perdure.examples.fulfilment import (
    Approval,
    HasShop,
    OutOfStock,
    Purchase,
    Refusal,
    approval,
    fulfilment,
    print_label,
)
from perdure.examples.mail import MailBounced
from perdure.jobs.call import Call
from perdure.jobs.definition import CallError
from perdure.kinds.workflow import Signalled, WorkflowHandle
from perdure.programs import EffectTimeout, gather, sleep, sleep_until
from perdure.values.answer import Done, WasCancelled
from perdure.values.listings import StepRecord
from perdure.values.outcome import Failed, Started
from perdure.values.status import Defect

assert_type(fulfilment, Workflow[Purchase, str, Refusal | MailBounced, HasShop])
assert_type(approval, Signal[Approval])


def calls(jobs: Client, order: Purchase) -> None:
    flow = jobs.handle(fulfilment)
    assert_type(flow, WorkflowHandle[Purchase, str, Refusal | MailBounced])
    assert_type(flow.start("1", order), Call[Started[Refusal | MailBounced | Defect], CallError])
    assert_type(flow.signal("1", approval, Approval("ann")), Call[Signalled, CallError])
    assert_type(flow.cancel("1", "why"), Call[Signalled, CallError])
    assert_type(flow.get_state("1"), Call[Purchase | None, CallError])
    assert_type(flow.steps("1"), Call[tuple[StepRecord, ...], CallError])
    flow.outcome("1").future().map(shown)


def shown(outcome: Done[str] | Failed[Refusal | MailBounced | Defect] | WasCancelled | None) -> str:
    match outcome:
        case Done(value):
            return assert_type(value, str)
        case Failed(error):
            return str(assert_type(error, Refusal | MailBounced | Defect))
        case WasCancelled(reason):
            return reason
        case None:
            return "-"


@step
@program
def labelled(parcel: str) -> Do[str, OutOfStock, HasShop]:
    return (yield from print_label(parcel))


assert_type(labelled("1"), Program[str, OutOfStock, HasShop])


@program
def parent(ctx: WorkflowContext[int]) -> Do[int, EffectTimeout | Refusal | MailBounced | Defect, HasShop]:
    got = yield from approval.receive().timeout("1 day")
    assert_type(got, Approval)
    tracking = yield from fulfilment.call("child", Purchase("a", "b", 1))
    assert_type(tracking, str)
    yield from tell(fulfilment, "other").signal(approval, Approval("x"))
    yield from tell(fulfilment, "other").start(Purchase("a", "b", 1))
    yield from gather(sleep("1 s"), sleep("2 s"))
    yield from sleep_until((yield from ctx.now) + timedelta(seconds=1))
    assert_type((yield from patched("more")), bool)
    assert_type((yield from step_key()), str)
    yield from labelled(tracking)
    if got.by:
        yield from ctx.start_over(1)
    return len(tracking)


family = Workflow("family", state=int, run=parent, signals=(approval,))
assert_type(family, Workflow[int, int, EffectTimeout | Refusal | MailBounced | Defect, HasShop])
