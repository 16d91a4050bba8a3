"""Tools show a workflow without its secrets."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import attrs
from flows import bodies
from returns.future import FutureResult

from perdure import App, Do, ItemContext, Secret, Signal, WorkerPool, Workflow, WorkflowContext, effect, program
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.redaction import redacted_instance, redacted_payload
from perdure.programs import fail, sleep
from perdure.testing import World
from perdure.values.answer import Done
from perdure.values.status import Defect


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
        world.run(flow.start("p", "ada"))
        world.advance("1 second")
        world.run(flow.signal("p", card, Card("ada", "1111")))
        for _ in range(2):
            instance = world.instance(job, "p")
            assert instance is not None
            rows = bodies(world, job, "p")
            assert "1111" in "".join(rows)
            assert job.has_secret_rows([row for row in rows if "1111" in row])  # no snapshot holds it
            shown = redacted_instance(job, instance)
            steps = job.steps(shown, rows)
            text = f"{shown.data} {[step.value for step in steps]} {job.display_fields_of(shown)}"
            assert "1111" not in text
            assert "4242" not in text
            assert "<secret>" in text
            world.advance("1 hour")


Token: TypeAlias = Annotated[str, Secret]


@effect
def fetched(services: object) -> FutureResult[Token, str]:
    return FutureResult.from_value("s3cr3t")


@program
def vault(ctx: WorkflowContext[str]) -> Do[Token, str]:
    token = yield from fetched()
    yield from sleep("1 hour")
    return token


child = Workflow("vault", state=str, run=vault)


@program
def keeping(ctx: WorkflowContext[str]) -> Do[int, str | Defect]:
    return len((yield from child.call(f"of-{ctx.id}", "ada")))


parent = Workflow("keeping", state=str, run=keeping)


@program
def working(ctx: ItemContext[str]) -> Do[Token, str]:
    return (yield from fetched())


pool = WorkerPool("tokens", item=str, work=working)


def test_a_mark_on_the_whole_outcome_hides_it_in_steps_children_and_results() -> None:
    with World(App(None).with_jobs(child, parent, pool)) as world:
        world.run(world.handle(parent).start("p", "ada"))
        world.run(world.handle(pool).put("i", "ada"))
        world.advance("2 hours")
        assert world.run(world.handle(parent).outcome("p")) == Done(value=6)
        shown: list[str] = []
        rows: list[tuple[AnyDefinition, str]] = [(child, "of-p"), (parent, "p"), (pool, "i")]
        for job, id_ in rows:
            steps = world.run(world.jobs.handle_by_name(job.kind, job.name).steps(id_))
            shown += [each.value or "" for each in steps]
            instance = world.instance(job, id_)
            assert instance is not None
            shown.append(redacted_instance(job, instance).data)
        assert "s3cr3t" not in " ".join(shown)
        assert sum("<secret>" in each for each in shown) == 4  # two steps, the end of the child, the result of the item


@attrs.frozen
class Leaked:
    owner: str
    token: Token


@program
def leaking(ctx: WorkflowContext[str]) -> Do[str, Leaked]:
    yield from sleep("1 minute")
    return (yield from fail(Leaked("ada", "s3cr3t")))


leaky = Workflow("leaky", state=str, run=leaking)


@program
def patient(ctx: WorkflowContext[str]) -> Do[str, str]:
    result = yield from leaky.call("c", "ada").attempt()
    yield from sleep("1 hour")
    return result.failure().__class__.__name__


def test_the_secrets_of_a_childs_error_are_not_shown_in_the_steps_of_its_parent() -> None:
    calling = Workflow("calling", state=str, run=patient)
    with World(App(None).with_jobs(leaky, calling)) as world:
        world.run(world.handle(calling).start("p", "ada"))
        world.advance("2 minutes")
        steps = world.run(world.handle(calling).steps("p"))
        assert [step.status for step in steps][:1] == ["failed"]
        assert "s3cr3t" not in str([(each.value, each.error, attrs.asdict(each)) for each in steps])
        assert "s3cr3t" in " ".join(bodies(world, calling, "p"))
        world.advance("2 hours")
        assert world.run(world.handle(calling).outcome("p")) == Done("Leaked")


def test_the_end_of_a_child_is_hidden_while_it_is_a_message_or_waits_in_the_inbox() -> None:
    end = '{"call": "child x:0", "form": "done", "value": "\\"s3cr3t\\""}'
    assert redacted_payload(parent, "child_ended", end) == '"<secret>"'
    with World(App(None).with_jobs(child, parent)) as world:
        flow = world.handle(parent)
        world.run(flow.start("p", "ada"))
        world.advance("1 second")
        world.run(flow.pause("p"))
        world.advance("2 hours")  # the end of the child waits in the inbox
        instance = world.instance(parent, "p")
        assert instance is not None
        rows = bodies(world, parent, "p")
        assert "s3cr3t" in "".join(rows)
        assert "s3cr3t" not in instance.data
        assert parent.has_secret_rows([row for row in rows if "s3cr3t" in row])  # no snapshot holds it
        assert "s3cr3t" not in f"{parent.steps(instance, rows)}"


@attrs.frozen
class Purse:
    owner: str
    pin: Annotated[str, Secret] = "none"


@effect
async def refused(services: object, pin: str) -> None:
    raise ValueError(f"the pin {pin} is wrong")


@program
def spending(ctx: WorkflowContext[Purse]) -> Do[None]:
    purse = yield from ctx.state
    yield from ctx.set_state(attrs.evolve(purse, pin="9876"))
    yield from refused("9876")


spender = Workflow("spending", state=Purse, run=spending)


def test_the_error_of_a_step_hides_secrets_that_the_run_has_just_set() -> None:
    with World(App(None).with_jobs(spender)) as world:
        flow = world.handle(spender)
        world.run(flow.start("p", Purse("ada")))
        world.settle()
        (step,) = world.run(flow.steps("p"))
        assert "the pin <secret> is wrong" in str(step)
        instance = world.instance(spender, "p")
        assert instance is not None
        assert instance.last_error is not None
        assert "9876" not in str(instance.last_error)
