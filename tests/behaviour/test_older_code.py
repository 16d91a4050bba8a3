"""States that newer code wrote, under older code: it continues, and keeps the members that it does not know."""

from typing import Any

import orjson
from attrs import evolve, field, frozen
from world import World, on_each_store

from perdure import (
    App,
    Continuous,
    ContinuousContext,
    Debounce,
    DebounceContext,
    Do,
    ItemContext,
    Program,
    Signal,
    Task,
    TaskContext,
    WorkerPool,
    Workflow,
    WorkflowContext,
    every,
    program,
    step,
    succeed,
)
from perdure.jobs.redaction import redacted_instance
from perdure.values.address import Address
from perdure.values.errors import Undecodable
from perdure.values.secret import HIDDEN


@frozen
class Line:
    sku: str
    n: int = 1


@frozen
class NewLine:
    sku: str
    n: int = 1
    gift: bool = False


@frozen
class Cart:
    lines: tuple[Line, ...] = ()
    total: int = 0


@frozen
class NewCart:
    lines: tuple[NewLine, ...] = ()
    total: int = 0
    note: str = ""


@frozen
class Add:
    sku: str


@frozen
class More:
    at: int


@frozen
class Turned:
    """Two changes of the state in one turn."""


@frozen
class Swapped:
    """The last line goes and another one comes: nothing says which."""

    sku: str


Event = Add | More | Turned | Swapped


@frozen
class Code:
    """A version of the jobs: its classes, and whether it writes the new members."""

    line: Any
    cart: Any
    extra: dict[str, Any] = field(factory=dict[str, Any])
    note: dict[str, Any] = field(factory=dict[str, Any])

    def changed(self, cart: Any, event: Any) -> Any:
        lines = cart.lines
        match event:
            case Add(sku):
                lines = (*lines, self.line(sku, **self.extra))
            case More(at):
                lines = (*lines[:at], evolve(lines[at], n=lines[at].n + 1), *lines[at + 1 :])
            case Swapped(sku):
                lines = (*lines[:-1], self.line(sku))
        return evolve(cart, lines=lines, total=cart.total + 1, **self.note)

    def task(self, **options: Any) -> Any:
        @program
        def on_event(ctx: TaskContext[Any], event: Event) -> Do[None]:
            cart = yield from ctx.state
            if isinstance(event, Turned):
                yield from ctx.set_state(evolve(cart, lines=(evolve(cart.lines[0], n=9), *cart.lines[1:])))
                cart = yield from ctx.state
                cart = evolve(cart, lines=cart.lines[::-1])
            yield from ctx.set_state(self.changed(cart, event))

        @program
        def execute(ctx: TaskContext[Any]) -> Do[None]:
            yield from ctx.update_state(lambda cart: evolve(cart, total=-1))

        return Task(
            "carts", state=self.cart, event=Event, initial=self.cart(), on_event=on_event, execute=execute, **options
        )

    def debounce(self) -> Any:
        @program
        def on_event(ctx: DebounceContext[Any], event: Event) -> Do[None]:
            yield from ctx.update_state(lambda cart: self.changed(cart, event))

        @program
        def execute(ctx: DebounceContext[Any]) -> Do[None]:
            yield from ctx.state

        return Debounce(
            "carts",
            event=Event,
            state=self.cart,
            initial=self.cart(),
            flush_after="1 hour",
            on_event=on_event,
            execute=execute,
        )

    def continuous(self) -> Any:
        @program
        def execute(ctx: ContinuousContext[Any]) -> Do[None]:
            yield from ctx.update_state(lambda cart: self.changed(cart, More(0)))

        return Continuous("carts", state=self.cart, schedule=every("1 hour"), execute=execute)

    def workflow(self) -> Any:
        @program
        def carts(ctx: WorkflowContext[Any]) -> Do[int]:
            for sku in "xyz":
                yield from GO.receive()
                yield from ctx.update_state(lambda cart, sku=sku: self.changed(cart, Add(sku)))
            return 0

        return Workflow("carts", state=self.cart, run=carts, signals=(GO,))


GO = Signal("go", int)
OLD = Code(Line, Cart)
NEW = Code(NewLine, NewCart, {"gift": True}, {"note": "hi"})


async def sent(world: World, job: Any, *events: Any) -> Any:
    """Send events with the code of a job, whose process ends then, and return the state that this code reads."""
    jobs = (await world.open(App(world.outside).with_jobs(job))).handle(job)
    for event in events:
        await world.run(jobs.add("a", event) if isinstance(job, Debounce) else jobs.send("a", event))
    state = await world.run(jobs.get_state("a"))
    await world.close()
    return state


async def stored(world: World, job: Any) -> str:
    await world.open(App(world.outside).with_jobs(job))
    row = await world.row(Address(job.kind, job.name, "a"))
    await world.close()
    assert row is not None
    assert row.suspension is None
    return row.state


@on_each_store
async def test_older_code_continues_and_newer_code_finds_its_members(world: World) -> None:
    new, old = NEW.task(), OLD.task()
    await sent(world, new, Add("x"), Add("y"))
    assert await sent(world, old, Add("z"), More(1)) == Cart((Line("x"), Line("y", 2), Line("z")), 4)
    lines = NewLine("x", gift=True), NewLine("y", 2, gift=True), NewLine("z")
    assert await sent(world, new) == NewCart(lines, 4, "hi")


@on_each_store
async def test_two_changes_in_one_turn_keep_them(world: World) -> None:
    new, old = NEW.task(), OLD.task()
    await sent(world, new, Add("x"), Add("y"))
    await sent(world, old, Turned())
    assert await sent(world, new) == NewCart((NewLine("y", gift=True), NewLine("x", 9, gift=True)), 3, "hi")


@on_each_store
async def test_a_state_that_older_code_reads_and_does_not_change_keeps_its_text(world: World) -> None:
    new, old = NEW.task(), OLD.task()
    await sent(world, new, Add("x"))
    text = await stored(world, new)
    await sent(world, old)
    assert await stored(world, new) == text


@on_each_store
async def test_a_member_with_no_certain_place_is_not_lost(world: World) -> None:
    new, old = NEW.task(), OLD.task()
    await sent(world, new, Add("x"), Add("y"))
    text = await stored(world, new)
    jobs = (await world.open(App(world.outside).with_jobs(old))).handle(old)
    refused = await world.error_of(jobs.send("a", Swapped("w")))
    assert isinstance(refused, Undecodable)
    assert "$.lines[1]: newer code wrote into it" in str(refused)
    await world.close()
    await world.open(App(world.outside).with_jobs(new))
    row = await world.row(old.address("a"))
    assert row is not None
    assert row.state == text


@on_each_store
async def test_an_alarm_of_older_code_keeps_them(world: World) -> None:
    new, old = NEW.task(), OLD.task()
    await sent(world, new, Add("x"))
    jobs = (await world.open(App(world.outside).with_jobs(old))).handle(old)
    await world.run(jobs.trigger("a"))
    await world.close()
    assert await sent(world, new) == NewCart((NewLine("x", gift=True),), -1, "hi")


@on_each_store
async def test_a_batch_of_older_code_keeps_them(world: World) -> None:
    new, old = NEW.debounce(), OLD.debounce()
    await sent(world, new, Add("x"))
    assert await sent(world, old, Add("z")) == Cart((Line("x"), Line("z")), 2)
    assert await sent(world, new) == NewCart((NewLine("x", gift=True), NewLine("z")), 2, "hi")


@on_each_store
async def test_the_newest_event_of_a_batch_takes_over_no_members_of_the_one_before(world: World) -> None:
    def newest(cls: Any) -> Any:
        @program
        def execute(ctx: DebounceContext[Any]) -> Do[None]:
            yield from ctx.state

        return Debounce("newest", event=cls, flush_after="1 hour", execute=execute)

    new, old = newest(NewLine), newest(Line)
    await sent(world, new, NewLine("x", gift=True))
    await sent(world, old, Line("y"))
    assert await sent(world, new) == NewLine("y")


@on_each_store
async def test_a_run_of_a_continuous_job_keeps_them(world: World) -> None:
    new, old = NEW.continuous(), OLD.continuous()
    jobs = (await world.open(App(world.outside).with_jobs(new))).handle(new)
    await world.run(jobs.start("a", NewCart((NewLine("x", gift=True),), 0, "hi")))
    await world.close()
    jobs = (await world.open(App(world.outside).with_jobs(old))).handle(old)
    await world.advance(hours=2)
    await world.close()
    found = orjson.loads(await stored(world, new))
    assert found["note"] == "hi"
    assert found["lines"][0]["gift"] is True
    assert found["total"] == found["lines"][0]["n"] - 1 >= 2


@on_each_store
async def test_a_workflow_of_newer_code_is_replayed_by_older_code(world: World) -> None:
    new, old = NEW.workflow(), OLD.workflow()
    jobs = (await world.open(App(world.outside).with_jobs(new))).handle(new)
    await world.run(jobs.start("a", NewCart()))
    for number in (1, 2):
        await world.run(jobs.signal("a", GO, number))
    await world.close()
    jobs = (await world.open(App(world.outside).with_jobs(old))).handle(old)
    await world.run(jobs.signal("a", GO, 3))
    await world.close()
    found = orjson.loads(await stored(world, new))
    assert found == {
        "lines": [
            {"sku": "x", "n": 1, "gift": True},
            {"sku": "y", "n": 1, "gift": True},
            {"sku": "z", "n": 1},
        ],
        "total": 3,
        "note": "hi",
    }


@on_each_store
async def test_no_tool_of_older_code_shows_them(world: World) -> None:
    new, old = NEW.task(), OLD.task(state_in_events=True)
    await sent(world, new, Add("x"))
    jobs = (await world.open(App(world.outside).with_jobs(old))).handle(old)
    await world.run(jobs.trigger("a"))
    shown = [event.state for event in await world.history(old.address("a")) if getattr(event, "state", None)]
    row = await world.row(old.address("a"))
    assert row is not None
    await world.close()
    for text in (shown[-1], redacted_instance(old, row).state):
        assert orjson.loads(text) == {
            "lines": [{"sku": "x", "n": 1, "gift": HIDDEN}],
            "total": -1,
            "note": HIDDEN,
        }


# ---------------------------------------------------------------- results
def pool(cart: Any, result: Any, make: Any) -> Any:
    """Return a pool of carts whose results a function makes."""

    @program
    def work(ctx: ItemContext[Any]) -> Do[Any]:
        item = yield from ctx.item
        return make(item)

    return WorkerPool("packing", item=cart, work=work, result=result)


async def outcome(world: World, new: Any, old: Any, line: NewLine, *more: NewLine) -> Any:
    """Put an item with newer code, let older code work on it, and return the outcome that the newer code reads."""
    jobs = (await world.open(App(world.outside).with_jobs(new))).handle(new)
    await world.run(jobs.put("a", NewCart((line, *more), 0, "hi"), after="1 minute"))
    await world.close()
    await world.open(App(world.outside).with_jobs(old))
    await world.advance(hours=1)
    row = await world.row(old.address("a"))
    assert row is not None
    if row.left is not None:
        return row.left.error.message
    await world.close()
    jobs = (await world.open(App(world.outside).with_jobs(new))).handle(new)
    return (await world.run(jobs.outcome("a"))).value


@on_each_store
async def test_the_changed_item_of_a_pool_keeps_them_in_the_result(world: World) -> None:
    new = pool(NewCart, NewCart, lambda cart: cart)
    old = pool(Cart, Cart, lambda cart: evolve(cart, lines=(evolve(cart.lines[0], n=5),), total=1))
    assert await outcome(world, new, old, NewLine("x", gift=True)) == NewCart((NewLine("x", 5, gift=True),), 1, "hi")


@on_each_store
async def test_a_result_in_which_a_member_has_no_certain_place_is_left(world: World) -> None:
    new = pool(NewCart, NewCart, lambda cart: cart)
    old = pool(Cart, Cart, lambda cart: evolve(cart, lines=(Line("q", 7), Line("r", 8))))
    left = await outcome(world, new, old, NewLine("x", gift=True), NewLine("y"))
    assert left == "$.lines[0]: newer code wrote into it, and it was changed or replaced"


@on_each_store
async def test_objects_of_an_item_keep_them_in_a_result_of_another_type(world: World) -> None:
    new = pool(NewCart, dict[str, tuple[NewLine, ...]], lambda cart: {})
    old = pool(Cart, dict[str, tuple[Line, ...]], lambda cart: {"packed": (Line("z"), *cart.lines[::-1])})
    lines = NewLine("x", gift=True), NewLine("y", 3)
    assert await outcome(world, new, old, *lines) == {"packed": (NewLine("z"), *lines[::-1])}


def flow(line: Any, cart: Any) -> tuple[Any, Signal[Any]]:
    """Return a workflow that puts the object of a signal into its state, a step's answer and its result."""
    bring = Signal("bring", line)

    @step
    def weigh(one: Any) -> Program[line]:
        return succeed(one)

    @program
    def carts(ctx: WorkflowContext[Any]) -> Do[Any]:
        one = yield from bring.receive()
        yield from ctx.update_state(lambda cart: evolve(cart, lines=(one,), total=1))
        other = yield from weigh(one)
        yield from GO.receive()
        state = yield from ctx.state
        return state, other, line("z"), one

    result = tuple[cart, line, line, line]
    return Workflow("carts", state=cart, run=carts, signals=(bring, GO), result=result, keep="1 day"), bring


@on_each_store
async def test_a_workflow_keeps_those_of_its_signals_and_steps(world: World) -> None:
    (new, bring), (old, _) = flow(NewLine, NewCart), flow(Line, Cart)
    jobs = (await world.open(App(world.outside).with_jobs(new))).handle(new)
    await world.run(jobs.start("a", NewCart(note="hi")))
    await world.run(jobs.pause("a"))
    line = NewLine("x", gift=True)
    await world.run(jobs.signal("a", bring, line))
    await world.close()
    jobs = (await world.open(App(world.outside).with_jobs(old))).handle(old)
    await world.run(jobs.resume("a"))
    await world.run(jobs.signal("a", GO, 1))
    await world.advance(minutes=1)
    await world.close()
    jobs = (await world.open(App(world.outside).with_jobs(new))).handle(new)
    assert await world.run(jobs.get_state("a")) == NewCart((line,), 1, "hi")
    assert (await world.run(jobs.outcome("a"))).value == (NewCart((line,), 1, "hi"), line, NewLine("z"), line)


@on_each_store
async def test_the_state_of_a_workflow_keeps_them_as_its_result(world: World) -> None:
    def flow(cart: Any) -> Any:
        @program
        def carts(ctx: WorkflowContext[Any]) -> Do[Any]:
            yield from GO.receive()
            yield from ctx.update_state(lambda cart: evolve(cart, total=1))
            return (yield from ctx.state)

        return Workflow("carts", state=cart, run=carts, signals=(GO,), result=cart, keep="1 day")

    new, old = flow(NewCart), flow(Cart)
    jobs = (await world.open(App(world.outside).with_jobs(new))).handle(new)
    await world.run(jobs.start("a", NewCart((NewLine("x", gift=True),), note="hi")))
    await world.close()
    jobs = (await world.open(App(world.outside).with_jobs(old))).handle(old)
    await world.run(jobs.signal("a", GO, 1))
    await world.close()
    jobs = (await world.open(App(world.outside).with_jobs(new))).handle(new)
    assert (await world.run(jobs.outcome("a"))).value == NewCart((NewLine("x", gift=True),), 1, "hi")
