"""The traces of any play of calls, alarms, retries, messages and crashes hang together."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.trace import SpanContext
from world import HasOutside, Refused, StoreKind, World, play, say

from perdure import App, Backoff, Do, Retry, Task, TaskContext, program, tell
from perdure.telemetry.opentelemetry import opentelemetry


@attrs.frozen
class Forward:
    """Send the event to another instance."""

    to: str
    then: Event


@attrs.frozen
class Later:
    """Set the alarm, whose run says a word."""

    word: str


@attrs.frozen
class Now:
    """Say a word."""

    word: str


Event = Forward | Later | Now


@program
def on_event(ctx: TaskContext[str], event: Event) -> Do[None, Refused, HasOutside]:
    match event:
        case Forward(to, then):
            yield from tell(job, to).send(then)
        case Later(word):
            yield from ctx.set_state(word)
            yield from ctx.schedule(after="1 minute")
        case Now(word):
            yield from say(word)


@program
def execute(ctx: TaskContext[str]) -> Do[None, Refused, HasOutside]:
    word = yield from ctx.state
    yield from say(word)
    if word == "again":
        yield from ctx.schedule(after="1 minute")


job = Task(
    "job",
    state=str,
    event=Event,
    initial="",
    on_event=on_event,
    execute=execute,
    retry=Retry(3, Backoff.constant("1 minute"), jitter=False),
)


@attrs.define
class Begun(SpanProcessor):
    """Remembers every span that begins, also those that a crash keeps from ending."""

    spans: list[ReadableSpan] = attrs.Factory(list[ReadableSpan])
    before_crash: int = 0

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.spans.append(span)


IDS = ("a", "b")
WORDS = ("hello", "refused", "again", "held")
leaves = st.one_of(st.builds(Later, st.sampled_from(WORDS)), st.builds(Now, st.sampled_from(WORDS)))
events = st.recursive(leaves, lambda inner: st.builds(Forward, st.sampled_from(IDS), inner), max_leaves=3)
calls = st.tuples(st.sampled_from(IDS), events)
singles = st.one_of(calls, st.sampled_from(["minute", "crash", "release"])).map(lambda step: [step])
scenes = st.sampled_from(  # of which chance alone makes few
    [
        [("a", Now("held")), "crash"],
        [("a", Later("held")), "minute", "crash"],
        [("b", Later("refused")), "minute", "minute"],
        [("b", Forward("a", Later("again"))), "minute", "minute"],
    ]
)
steps = st.lists(st.one_of(singles, scenes), max_size=6).map(lambda parts: [step for part in parts for step in part])


async def perform(world: World, plan: list[Any], begun: Begun) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(begun)
    app = App(world.outside).with_jobs(job).with_sinks(opentelemetry(tracer_provider=provider))
    jobs = await world.open(app)
    world.outside.refusals["refused"] = 2
    world.suspension("held")
    for step in plan:
        match step:
            case "minute":
                await world.advance(minutes=1)
            case "crash":
                await world.crash()
                begun.before_crash = len(begun.spans)
                world.outside.held = {word: [] for word in world.outside.held}
                jobs = await world.open(app)
            case "release":
                if "held" in world.outside.held:
                    world.release("held")
            case (id_, event):
                world.start(jobs.handle(job).send(id_, event))
        await world.settle()


def known(context: SpanContext | None) -> tuple[int, int] | None:
    return None if context is None else (context.trace_id, context.span_id)


@settings(deadline=timedelta(seconds=20))
@given(steps, st.sampled_from(["memory", "sqlite"]))
def test_each_span_has_a_known_parent_or_cause(plan: list[Any], kind: StoreKind) -> None:
    begun = Begun()
    with TemporaryDirectory() as folder:
        play(kind, Path(folder), lambda world: perform(world, plan, begun))
    assert all(span.end_time for span in begun.spans[begun.before_crash :])
    by_id = {known(span.get_span_context()): span for span in begun.spans}
    assert len(by_id) == len(begun.spans)
    for span in begun.spans:
        given_attributes = span.attributes or {}
        cause = given_attributes.get("perdure.cause")
        if cause is None:  # an effect: below a turn of the same run
            turn = by_id[known(span.parent)]
            assert (turn.attributes or {})["perdure.cause"]
            assert (turn.attributes or {})["perdure.run_id"] == given_attributes["perdure.run_id"]
        else:
            assert span.parent is None
            linked = [by_id[known(link.context)] for link in span.links]
            assert len(linked) == (0 if cause == "request" else 1), cause
            assert all(known(link.context) != known(span.get_span_context()) for link in span.links)
            if cause in {"retry", "recovery", "alarm"}:
                assert [(turn.attributes or {})["perdure.id"] for turn in linked] == [given_attributes["perdure.id"]]
            if cause in {"retry", "recovery"} and "perdure.run_id" in given_attributes:
                assert [(turn.attributes or {})["perdure.run_id"] for turn in linked] == [
                    given_attributes["perdure.run_id"]
                ]
