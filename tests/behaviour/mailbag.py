"""A debounce of letters: its events may ring outside or tell their own instance, its flushes print the letters."""

from datetime import timedelta

from attrs import frozen
from world import START, HasOutside, Refused, World, say

from perdure import App, Backoff, Debounce, DebounceContext, Do, Limits, Retry, program, tell


@frozen
class Letter:
    text: str = "x"


@frozen
class Pile:
    texts: tuple[str, ...] = ()


@program
def pile_up(ctx: DebounceContext[Pile], letter: Letter) -> Do[None, Refused, HasOutside]:
    if letter.text.startswith("ring"):
        yield from say(f"{letter.text}, delivery {ctx.delivery}")
        yield from say("rung")
    if letter.text.startswith("remind"):
        yield from tell(mailbag(), ctx.id).add(Letter("later"))
    pile = yield from ctx.state
    yield from ctx.set_state(Pile((*pile.texts, letter.text)))


@program
def deliver(ctx: DebounceContext[Pile]) -> Do[None, Refused, HasOutside]:
    pile = yield from ctx.state
    texts = ",".join(pile.texts)
    yield from say(f"{texts} ({ctx.event_count}, {ctx.flush_reason}) run {ctx.run_count}.{ctx.attempt}.{ctx.delivery}")
    yield from say("deliver")
    yield from say(f"run_id {ctx.run_id}")
    if texts == "echo":
        yield from tell(mailbag(), ctx.id).add(Letter("echoed"))


RETRY = Retry(2, Backoff.constant("20 s"), jitter=False)


def mailbag(**options):
    return Debounce(
        "mailbag",
        event=Letter,
        state=Pile,
        initial=Pile(),
        on_event=pile_up,
        execute=deliver,
        **{"flush_after": "5 s", "retry": RETRY, **options},
    )


async def opened(world: World, definition=None, **limits):
    definition = definition or mailbag()
    return (await world.open(App(world.outside, limits=Limits(**limits)).with_jobs(definition))).handle(definition)


async def add(world: World, jobs, *texts: str):
    return [await world.run(jobs.add("a", Letter(text))) for text in texts][-1]


def flushes(world: World) -> list[str]:
    return [word for word in world.outside.heard if " run " in word]


def run_ids(world: World) -> list[str]:
    return [word for word in world.outside.heard if word.startswith("run_id ")]


def at(seconds: float):
    return START + timedelta(seconds=seconds)
