"""States that newer code wrote, under older code: it continues, and keeps the members that it does not know."""

from typing import Any

import orjson
import pytest
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
    fail,
    program,
    step,
    succeed,
    tell,
)
from perdure.codecs import NewerOnly
from perdure.jobs.messages import received
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


# ---------------------------------------------------------------- sets and dicts
@on_each_store
async def test_the_objects_of_sets_and_dicts_keep_them_in_a_result(world: World) -> None:
    """Each element is found, wherever its JSON is sorted: the members decide the order in newer code."""

    def pool(line: Any) -> Any:
        @program
        def work(ctx: ItemContext[Any]) -> Do[Any]:
            lines = yield from ctx.item
            by_number = {each.n: each for each in lines}
            return frozenset({*by_number.values(), line("z", 0)}), by_number

        result = tuple[frozenset[line], dict[int, line]]
        return WorkerPool("packing", item=frozenset[line], work=work, result=result)

    new, old = pool(NewLine), pool(Line)
    lines = frozenset({NewLine("x", 2, gift=True), NewLine("x", 1), NewLine("a", 3, gift=True)})
    jobs = (await world.open(App(world.outside).with_jobs(new))).handle(new)
    await world.run(jobs.put("a", lines, after="1 minute"))
    await world.close()
    await world.open(App(world.outside).with_jobs(old))
    await world.advance(hours=1)
    await world.close()
    jobs = (await world.open(App(world.outside).with_jobs(new))).handle(new)
    found = (await world.run(jobs.outcome("a"))).value
    assert found == ({*lines, NewLine("z", 0)}, {each.n: each for each in lines})


# ---------------------------------------------------------------- messages, children and typed errors
@frozen
class Refused:
    line: Line


@frozen
class NewRefused:
    line: NewLine


class Shop:
    """Jobs of one version. The task `carts` sends the lines of its state to the other ones."""

    def __init__(self, line: Any, cart: Any, refused: Any, **extra: Any) -> None:
        @program
        def pack(ctx: ItemContext[Any]) -> Do[Any, Any]:
            item = yield from ctx.item
            if item.n > 1:
                yield from fail(refused(item))
            return item

        @program
        def ship(ctx: WorkflowContext[Any]) -> Do[Any]:
            return (yield from ctx.state), (yield from self.bring.receive())

        @program
        def watch(_: ContinuousContext[Any]) -> Do[None]:
            yield from succeed(None)

        @program
        def box(ctx: TaskContext[Any], one: Any) -> Do[None]:
            yield from ctx.update_state(lambda lines: (*lines, one))

        @program
        def on_event(ctx: TaskContext[Any], event: Event) -> Do[None]:
            cart = yield from ctx.state
            if isinstance(event, More):
                for one in cart.lines:
                    yield from tell(self.packing, one.sku).put(one)
                    yield from tell(self.shipping, one.sku).start(one)
                    yield from tell(self.shipping, one.sku).signal(self.bring, one)
                    yield from tell(self.shipping, f"{one.sku}-2").signal_with_start(self.bring, one, one)
                    yield from tell(self.watching, one.sku).start(one)
                    yield from tell(self.boxes, one.sku).send(one)
            elif isinstance(event, Add):
                yield from ctx.set_state(evolve(cart, lines=(*cart.lines, line(event.sku, len(event.sku), **extra))))

        self.bring = Signal("bring", line)
        self.packing = WorkerPool("packing", item=line, work=pack, result=line, errors=refused)
        self.shipping = Workflow(
            "shipping", state=line, run=ship, signals=(self.bring,), result=tuple[line, line], keep="1 day"
        )
        self.watching = Continuous("watching", state=line, schedule=every("1 hour"), execute=watch)
        self.boxes = Task("boxes", state=tuple[line, ...], event=line, initial=(), on_event=box)
        self.carts = Task("carts", state=cart, event=Event, initial=cart(), on_event=on_event)

    def app(self, world: World) -> Any:
        return App(world.outside).with_jobs(self.packing, self.shipping, self.watching, self.boxes, self.carts)


NEW_SHOP, OLD_SHOP = Shop(NewLine, NewCart, NewRefused, gift=True), Shop(Line, Cart, Refused)


@on_each_store
async def test_messages_of_older_code_keep_them(world: World) -> None:
    """Where the target stores the input, older engines continue with it. Elsewhere the message waits for newer code."""
    jobs = await world.open(NEW_SHOP.app(world))
    for sku in ("x", "yy"):
        await world.run(jobs.handle(NEW_SHOP.carts).send("a", Add(sku)))
    await world.close()
    jobs = await world.open(OLD_SHOP.app(world))
    await world.run(jobs.handle(OLD_SHOP.carts).send("a", More(0)))
    await world.advance(minutes=5)
    assert (await world.run(jobs.handle(OLD_SHOP.shipping).status("x"))).status == "done"
    waiting = await world.messages()
    assert [(each.message.action, each.deliveries) for each in waiting] == [("send", 0), ("send", 0)]
    await world.close()
    jobs = await world.open(NEW_SHOP.app(world))
    await world.advance(minutes=1)
    for sku, line in (("x", NewLine("x", 1, gift=True)), ("yy", NewLine("yy", 2, gift=True))):
        packed = await world.run(jobs.handle(NEW_SHOP.packing).outcome(sku))
        assert packed.value == line if sku == "x" else packed.error == NewRefused(line)
        assert (await world.run(jobs.handle(NEW_SHOP.shipping).outcome(sku))).value == (line, line)
        assert (await world.run(jobs.handle(NEW_SHOP.shipping).outcome(f"{sku}-2"))).value == (line, line)
        assert await world.run(jobs.handle(NEW_SHOP.watching).get_state(sku)) == line
        assert await world.run(jobs.handle(NEW_SHOP.boxes).get_state(sku)) == (line,)
    assert await world.messages() == ()


def test_a_message_is_left_with_an_unknown_part_beside_the_one_that_is_stored() -> None:
    """Such as an option that a newer release of the library knows."""
    line = '{"sku":"x","n":1,"gift":true}'
    kept = received(OLD_SHOP.packing, "put", f'{{"item":{line},"after":"0ms","at":null,"head_start":"0ms"}}')
    assert '"gift":true' in kept.payload
    with pytest.raises(NewerOnly, match="urgent"):
        received(OLD_SHOP.packing, "put", f'{{"item":{line},"after":"0ms","urgent":true}}')
    with pytest.raises(NewerOnly, match="gift"):
        received(OLD_SHOP.boxes, "send", line)


def family(line: Any, refused: Any) -> tuple[Any, Any]:
    """Return a workflow that starts over once, and calls another one that fails with an object."""

    @program
    def part(ctx: WorkflowContext[Any]) -> Do[None, Any]:
        one = yield from ctx.state
        yield from fail(refused(one))

    @program
    def run(ctx: WorkflowContext[Any]) -> Do[None, Any]:
        one = yield from ctx.state
        yield from GO.receive()
        if one.n < 2:
            yield from ctx.start_over(evolve(one, n=2))
        yield from parts.call(f"{ctx.id}-part", one)

    parts = Workflow("parts", state=line, run=part, errors=refused, keep="1 day")
    return Workflow("whole", state=line, run=run, signals=(GO,), errors=refused, keep="1 day"), parts


@on_each_store
async def test_children_restarts_and_typed_errors_of_older_code_keep_them(world: World) -> None:
    """The error that the child fails with is the parent's error, too."""
    new, old = family(NewLine, NewRefused), family(Line, Refused)
    jobs = await world.open(App(world.outside).with_jobs(*new))
    await world.run(jobs.handle(new[0]).start("a", NewLine("x", 1, gift=True)))
    await world.close()
    jobs = await world.open(App(world.outside).with_jobs(*old))
    for number in (1, 2):
        await world.run(jobs.handle(old[0]).signal("a", GO, number))
    await world.advance(minutes=1)
    await world.close()
    jobs = await world.open(App(world.outside).with_jobs(*new))
    line = NewLine("x", 2, gift=True)
    assert (await world.run(jobs.handle(new[0]).outcome("a"))).error == NewRefused(line)
    assert (await world.run(jobs.handle(new[1]).outcome("a-part"))).error == NewRefused(line)
    assert await world.run(jobs.handle(new[1]).get_state("a-part")) == line


@on_each_store
async def test_the_object_of_an_error_keeps_them_where_on_error_stores_it(world: World) -> None:
    """The failed run has changed the object: nothing but the object itself says whose members it has."""

    def carts(line: Any, refused: Any, **extra: Any) -> Any:
        @program
        def on_event(ctx: TaskContext[Any], event: Event) -> Do[None, Any]:
            lines = yield from ctx.state
            if isinstance(event, Add):
                yield from ctx.set_state({event.sku: line(event.sku, **extra)})
            else:
                changed = evolve(lines["x"], n=9)
                yield from ctx.set_state({"x": changed})
                yield from fail(refused(changed))

        @program
        def on_error(ctx: TaskContext[Any], error: Any) -> Do[None]:
            yield from ctx.update_state(lambda lines: {**lines, "refused": error.line})

        return Task(
            "carts",
            state=dict[str, line],
            event=Event,
            initial={},
            on_event=on_event,
            on_error=on_error,
            errors=refused,
        )

    new, old = carts(NewLine, NewRefused, gift=True), carts(Line, Refused)
    await sent(world, new, Add("x"))
    await sent(world, old, More(1))
    assert await sent(world, new) == {"x": NewLine("x", gift=True), "refused": NewLine("x", 9, gift=True)}
