"""Explanations and simulations answer checkpoints and reads of a journal as the engine does."""

import attrs
import orjson
from returns.result import Success
from steps_kind import Steps, opened, rows
from world import World, on_each_store

from perdure.jobs.explanation import Explained
from perdure.testing import explain, hook_context, simulate
from perdure.values.limits import Limits
from perdure.values.transition import JournalChange, Loaded
from perdure.values.turn_inputs import TurnInputs
from perdure.wire.explanation import ExplainInputs, encode_explain_inputs, explain_inputs_of

WORDS = ["a", "b", "c", "d", "e"]


def start(words):
    return lambda post: post("start", words)


def said(call):
    return Success(None)


@on_each_store
async def test_an_explanation_holds_the_commits_of_the_real_run(world: World) -> None:
    steps = await opened(world)
    explained = await world.run(world.jobs.explain(steps.definition, "a", start(WORDS), answers=said))
    assert isinstance(explained, Explained)
    assert world.outside.heard == []
    await world.run(steps.start("a", WORDS))
    expected = [one.journal for one in world.commits if one.journal]
    assert [one.journal for one in explained.checkpoints] == expected
    assert await world.row(steps.definition.address("a")) is not None
    assert explained.instance.journal_length == len(WORDS)
    assert explained.instance.version == len(WORDS) + 2


@on_each_store
async def test_an_explanation_reads_the_stored_journal(world: World) -> None:
    """A run of an alarm continues behind the recorded steps."""
    steps = await opened(world)
    await world.run(steps.start("a", WORDS))
    await world.run(steps.add("a", "f"))
    explained = await world.run(world.jobs.explain(steps.definition, "a", "alarm", answers=said))
    assert explained.checkpoints == ()  # it has no alarm
    row = await world.row(steps.definition.address("a"))
    due = attrs.evolve(row, alarm_ms=world.now_ms)
    journal = await rows(world, steps)
    again = explain(steps.definition, "a", "alarm", instance=due, journal=journal, answers=said, now=world.now)
    assert [one.journal for one in again.checkpoints] == [JournalChange(("f",))]


def test_an_explanation_without_an_answer_stops_at_the_step() -> None:
    stopped = explain(Steps(), "a", start(WORDS), answers={})
    assert (stopped.effect, stopped.args) == ("say", ("a",))


def test_a_simulation_records_checkpoints_and_the_journal() -> None:
    """The trace shows both; the journal of the context is read."""
    definition = Steps(at_once=2)
    context = hook_context(definition, state=WORDS, journal=("a", "b"))
    _, program = definition.program(context.instance, context.claim, None)
    seen = simulate(program, None, on=context, handler=lambda call, _: Success(None))
    assert seen.value() == ["a", "b", "c", "d", "e"]
    assert seen.journal == ("a", "b", "c", "d", "e")
    assert [step.args for step in seen.effects] == [("c",), ("d",), ("e",)]
    assert "ReadJournal(first=0, limit=3)" in repr(seen)
    assert "Checkpoint()" in repr(seen)


def test_a_simulated_checkpoint_of_a_broken_kind_is_a_defect() -> None:
    definition = Steps(changes=lambda _: {"claim": None, "event_claim": None})
    context = hook_context(definition, state=WORDS)
    _, program = definition.program(context.instance, context.claim, None)
    seen = simulate(program, None, on=context, handler=lambda call, _: Success(None))
    assert "NotACheckpoint" in repr(seen.exit)
    assert seen.journal == ()


def test_a_moment_for_another_process_has_the_journal() -> None:
    moment = ExplainInputs(Loaded(), TurnInputs(now_ms=1, jitter=0.5, id_base=7, epoch=1, limits=Limits()), ("[]", "é"))
    assert explain_inputs_of(orjson.loads(encode_explain_inputs(moment))) == moment
