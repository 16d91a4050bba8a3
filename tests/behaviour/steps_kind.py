"""A small kind with a journal: it says words, one after the other or several at once, and writes down each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, cast

import attrs
from world import HasOutside, World, say

from perdure import App, Do, Limits, Program, Retry, program
from perdure.codecs import Codec
from perdure.jobs.call import Call
from perdure.jobs.checkpoint import Checkpoint, ReadJournal
from perdure.jobs.definition import CallError, Definition, Dispatch, PostCommand
from perdure.jobs.handle import JobHandle
from perdure.jobs.plan import DEFAULT_RUN_TIMEOUT, build_plan
from perdure.jobs.request import AlarmDue, CommandSpec, Request
from perdure.jobs.run import begin_attempt, begin_event, begin_run, run_answer
from perdure.jobs.step import Commit, Execute, Step
from perdure.jobs.transitions import answered, purge, put, reply, stored
from perdure.programs import gather, perform, succeed
from perdure.values.address import Address
from perdure.values.answer import OutcomeRecord, Sent
from perdure.values.instance import Claim, Instance
from perdure.values.transition import JournalChange
from perdure.values.turn_inputs import TurnInputs

PAGE = 3


@attrs.frozen
class Start:
    """Say these words."""

    words: list[str]


@attrs.frozen
class Add:
    """Say one more word, also while the others are being said."""

    word: str


@attrs.frozen
class Hear:
    """An event: say a word beside the run."""

    word: str


START = CommandSpec(name="start", command=Start, input=Codec.of(list[str], what="words"), absent="creates")
ADD = CommandSpec(name="add", command=Add, input=Codec.of(str, what="word"))
HEAR = CommandSpec(name="hear", command=Hear, input=Codec.of(str, what="word"))


@attrs.frozen
class StepsHandle(JobHandle[Any, Any]):
    def start(self, id_: str, words: list[str]) -> Call[Any, CallError]:
        return self._send(id_, Start(words), "start", words)

    def add(self, id_: str, word: str) -> Call[Sent, CallError]:
        return self._send(id_, Add(word), "add", word)

    def hear(self, id_: str, word: str) -> Call[Sent, CallError]:
        return self._send(id_, Hear(word), "hear", word)


@attrs.define
class Progress:
    """The words that were said, and those that no checkpoint has yet."""

    said: list[str]
    todo: list[str]
    unsaved: list[str] = attrs.Factory(list[str])

    def take(self) -> tuple[str, ...] | None:
        taken, self.unsaved = tuple(self.unsaved), []
        return taken or None


@program
def read_all() -> Do[list[str]]:
    rows: list[str] = []
    page: tuple[str, ...] = ("",) * PAGE
    while len(page) == PAGE:
        page = yield from perform(ReadJournal(len(rows), PAGE))
        rows += page
    return rows


@program
def one(progress: Progress, word: str) -> Do[None, Any, HasOutside]:
    yield from say(word)
    progress.said.append(word)
    progress.unsaved.append(word)
    todo = yield from perform(Checkpoint(progress.take))
    if todo is not None:
        progress.todo = todo


@program
def run(words: list[str], at_once: int) -> Do[list[str], Any, HasOutside]:
    progress = Progress((yield from read_all()), words)
    while left := [word for word in progress.todo if word not in progress.said]:
        yield from gather(*(one(progress, word) for word in left[:at_once]))
    return progress.said


@attrs.frozen(init=False, eq=False)
class Steps(Definition[StepsHandle, Any, HasOutside]):
    kind: ClassVar[str] = "steps"
    occupancy: ClassVar[Literal["mailbox", "claim_only"]] = "claim_only"
    keeps_journal: ClassVar[bool] = True
    name: str
    plan: Any
    at_once: int
    keep: Literal["row", "nothing"]
    changes: Callable[[Instance], dict[str, Any]]

    def __init__(
        self,
        name: str = "words",
        *,
        at_once: int = 1,
        keep: Literal["row", "nothing"] = "row",
        retry: Retry[Any] | None = None,
        changes: Callable[[Instance], dict[str, Any]] = lambda _: {},
    ) -> None:
        plan = build_plan(
            "steps",
            name,
            state=list[str],
            tags=None,
            errors=str,
            hooks={},
            retry=retry,
            exhausted="park",
            may_continue=False,
            run_timeout=DEFAULT_RUN_TIMEOUT,
            runs=None,
            commands=(START, ADD, HEAR),
        )
        cast("Any", self).__attrs_init__(name, plan, at_once, keep, changes)

    def begin(self, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs) -> Step:
        match request.command:
            case Start(words) if instance is None:
                fresh = Instance(
                    address=address,
                    created_ms=inputs.now_ms,
                    updated_ms=inputs.now_ms,
                    state=self.encode_state(words, inputs.limits),
                )
                return begin_run(self, fresh, request, inputs, cause="start", creates=True)
            case Add(word) if instance is not None:
                words = [*cast("list[str]", self.decode_state(instance)), word]
                transition = put(instance, inputs.now_ms, state=self.encode_state(words, inputs.limits))
                return answered(transition, Sent(created=False, status=instance.status, scheduled_at=None))
            case Hear() if instance is not None:
                return begin_event(self, instance, request, inputs, creates=False)
            case AlarmDue() if instance is not None and instance.pending_retry is not None:
                return begin_attempt(self, instance, instance.pending_retry, request, inputs)
            case AlarmDue() if instance is not None:
                return begin_run(self, instance.changed(alarm_ms=None), request, inputs, cause="alarm")
            case _:
                return reply(address, None)

    def program(self, instance: Instance, claim: Claim, command: object) -> tuple[str, Program[Any, Any, Any]]:
        if isinstance(command, Hear):
            return "hear", say(command.word)
        return "run", succeed(None).bind(lambda _: run(cast("list[str]", self.decode_state(instance)), self.at_once))

    def checkpoint(self, execute: Execute, value: object, inputs: TurnInputs) -> Commit:
        instance, rows = execute.instance, cast("tuple[str, ...]", value)
        transition = put(instance, inputs.now_ms, journal=JournalChange(rows), **self.changes(instance))
        return answered(transition, self.decode_state(instance))

    def succeeded(self, execute: Execute, value: object, inputs: TurnInputs) -> Commit:
        if execute.claim.cause == "event":
            heard = put(execute.instance, inputs.now_ms, event_claim=None)
            return answered(heard, Sent(created=False, status=execute.instance.status, scheduled_at=None))
        outcome = OutcomeRecord(form="completed")
        if self.keep == "nothing":
            return answered(purge(execute.instance), run_answer(execute, None, outcome))
        left = [w for w in cast("list[str]", self.decode_state(execute.instance)) if w not in cast("list[str]", value)]
        transition = put(
            execute.instance,
            inputs.now_ms,
            claim=None,
            pending_retry=None,
            last_error=None,
            alarm_ms=inputs.now_ms if left else None,
        )
        return answered(transition, run_answer(execute, stored(transition), outcome))

    def handle(self, dispatch: Dispatch) -> StepsHandle:
        return StepsHandle(self, dispatch)

    def sender(self, post: PostCommand) -> Any:
        return post


@attrs.frozen(init=False, eq=False)
class LongSteps(Steps):
    """Their time limit is that of a step."""

    time_limit_of: ClassVar[Literal["run", "checkpoint"]] = "checkpoint"


async def opened(
    world: World, definition: Steps | None = None, *, die_at: int | None = None, **limits: Any
) -> StepsHandle:
    definition = definition or Steps()
    app = App(world.outside, limits=Limits(**limits)).with_jobs(definition)
    return (await world.open(app, die_at=die_at)).handle(definition)


async def rows(world: World, handle: StepsHandle, id_: str = "a") -> tuple[str, ...]:
    """The journal of an instance, as it is stored."""
    address = handle.definition.address(id_)
    instance = await world.row(address)
    assert instance is not None
    found: tuple[str, ...] = await world.inspect(
        lambda store: store.journal.read(address, instance.incarnation, 0, 1000)
    )
    assert instance.journal_length == len(found)
    return found
