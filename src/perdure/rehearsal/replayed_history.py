"""Debug a history: a task, a continuous job, a debounce or a pool's item, at each request and run.

The requests that the history has come again when they did, in virtual time, to the engine that production runs.
Services are answered. So each step shows the state before and after, the effects with answers, and where the program
waited for them. Nothing is written.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from types import FrameType, GeneratorType
from typing import Any, Final, Literal, cast

import attrs
import orjson
from returns.result import Failure, Success

from perdure.app import App
from perdure.client.client import Client
from perdure.jobs.call import result_of
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.redaction import redacted_payload
from perdure.jobs.step import Execute
from perdure.jobs.suspension import shown_text
from perdure.programs.instructions import ServiceCall
from perdure.programs.interpreter import Loop
from perdure.rehearsal.answers import NoAnswers, Performer, Recorded, ServiceAnswers
from perdure.rehearsal.debugging import ProgramFrame, check_json, frames_of, identifier, test_text, world_of
from perdure.rehearsal.difference import duration
from perdure.rehearsal.future import LOOKS_EVERY_MS, NoServices, Recorder, on_stage
from perdure.rehearsal.image import Image
from perdure.rehearsal.past import PastLife, PastRequest, outcome_in, read_life
from perdure.rehearsal.timeline import LONGEST_MS, EntryKind, TimelineEntry, TimelineRecorder, local_gateway
from perdure.runtime.simulated import Simulation
from perdure.testing.world.world import World
from perdure.values.address import Address, check_id
from perdure.values.errors import DefinitionError, InvalidInput, RequestError, StoreCorrupt
from perdure.values.excerpt import excerpt, fields_in_line, shortened, size_only
from perdure.values.instance import Instance
from perdure.values.transition import Transition

MOST_STEPS: Final = 10_000
"""How many requests and runs a debugged history may have."""

_HOURS_LATER: Final = 24
_ENTRIES_OF_A_STEP: Final = 100  # on average: effects, results, messages
_MAX_FRAMES: Final = 100  # of the call stack, between an effect and the loop of its program


@attrs.frozen(kw_only=True)
class ReplayedEffect:
    """A call that a step makes.

    Attributes:
        call: the effect with its arguments.
        answer: the answer. Empty if it has none yet.
        changed: whether the answer is one that you gave.
        state: the state that the program has at this call, as JSON. It is committed when the run has ended.
        frames: the suspended functions, the innermost one last.
    """

    __repr__ = fields_in_line

    call: str
    answer: str = ""
    changed: bool = False
    state: str = attrs.field(default="", repr=size_only)
    frames: tuple[ProgramFrame, ...] = ()

    @property
    def line(self) -> str | None:
        """The line that waits for the answer."""
        return self.frames[-1].line if self.frames else None


@attrs.frozen(kw_only=True)
class HistoryPosition:
    """An instance after some steps.

    Attributes:
        number: how many steps have happened: this is the last.
        of: how many there are.
        at_ms: when it happened, in milliseconds since 1970 UTC.
        what: whether it is a request or a run.
        text: the request with its input, or the run with its cause.
        before: the state before it, as JSON. None if there was no instance.
        state: the state after it, as JSON. None if there is no instance.
        effects: the calls.
        entries: what else it did: messages, alarms, retries, its end.
        outcome: how the run ended here, or the request.
        recorded: how the history says that this run ended. None for a request, and if the history has no such run.
    """

    __repr__ = fields_in_line

    number: int
    of: int
    at_ms: int
    what: Literal["request", "run"]
    text: str
    before: str | None = attrs.field(repr=size_only)
    state: str | None = attrs.field(repr=size_only)
    effects: tuple[ReplayedEffect, ...]
    entries: tuple[TimelineEntry, ...]
    outcome: str
    recorded: str | None

    @property
    def calls(self) -> tuple[str, ...]:
        """The calls, with arguments."""
        return tuple(each.call for each in self.effects)

    @property
    def as_recorded(self) -> bool:
        """Whether the run ended here as the history says. True if the history says nothing."""
        return self.recorded is None or self.recorded == self.outcome


@attrs.define
class _Step:
    """A step, while it happens."""

    at_ms: int
    what: Literal["request", "run"]
    text: str
    run: tuple[int, int] | None
    before: Instance | None
    after: Instance | None
    outcome: str
    entries: list[TimelineEntry] = attrs.Factory(list[TimelineEntry])
    effects: list[tuple[int, ReplayedEffect]] = attrs.Factory(list[tuple[int, ReplayedEffect]])


@attrs.define
class _Answers(Performer):
    """Answers calls: some that one instance makes with changed answers, by number."""

    address: Address = attrs.field(kw_only=True, default=Address("", "", ""))
    changed: Mapping[int, Recorded] = attrs.field(kw_only=True, factory=dict[int, Recorded])
    calls: list[ServiceCall] = attrs.field(init=False, factory=list[ServiceCall])

    def answer(self, call: ServiceCall, address: Address, ordinal: int, elapsed_ms: int) -> object:
        # Calls of other instances, to which it sends messages, have no numbers that the user sees.
        if address != self.address:
            return super().answer(call, address, ordinal, elapsed_ms)
        self.calls.append(call)
        given = self.changed.get(len(self.calls))
        return super().answer(call, address, ordinal, elapsed_ms) if given is None else given.result(call)


@attrs.define
class _Replay(TimelineRecorder):
    """Records one instance's steps."""

    most_steps: int = attrs.field(kw_only=True, default=MOST_STEPS)
    steps: list[_Step] = attrs.field(init=False, factory=list[_Step])
    row: Instance | None = attrs.field(init=False, default=None)
    kept: dict[int, Recorded] = attrs.field(init=False, factory=dict[int, Recorded])

    def note(self, what: EntryKind, text: str) -> None:
        super().note(what, text)
        if what == "run":
            return  # it has begun by then
        step, entry = self.steps[-1] if self.steps else None, TimelineEntry(self.runtime.now_ms(), what, text)
        if step is None:
            return
        if what == "result":
            # Calls of one program are answered one after the other: the last one is meant.
            number, effect = step.effects[-1]
            step.effects[-1] = number, attrs.evolve(effect, answer=text.partition(": ")[2] or text)
        elif what not in {"effect", "state"}:
            step.entries.append(entry)

    def begin(self, what: Literal["request", "run"], text: str, run: tuple[int, int] | None = None) -> _Step:
        """Begin a step."""
        outcome = "executed" if what == "run" else ""
        step = _Step(self.runtime.now_ms(), what, text, run, self.row, self.row, outcome)
        self.steps.append(step)
        self.is_full = self.is_full or len(self.steps) > self.most_steps  # it must not run for ever
        return step

    def ran(self, run_id: str, attempt: int, cause: str, number: int) -> None:
        if (run_id, attempt) not in self.runs:
            again = f", attempt {attempt}" if attempt > 1 else ""
            self.begin("run", f"run {number}, because of {cause}{again}", (number, attempt))
        super().ran(run_id, attempt, cause, number)

    def perform(self, instruction: object, services: object, execute: Execute) -> object:
        if type(instruction) is ServiceCall and execute.instance.address == self.address and self.steps:
            answers = cast("_Answers", self.performer)
            number = len(answers.calls) + 1
            text = f"{instruction.name}({_arguments(instruction)})"
            # Now: when the answer has come, the program has moved on.
            frames = _suspended(inspect.currentframe())
            effect = ReplayedEffect(
                call=text, changed=number in answers.changed, state=excerpt(execute.draft.state), frames=frames
            )
            self.steps[-1].effects.append((number, effect))
            answer = super().perform(instruction, services, execute)
            # Kept when it comes: an awaitable can be awaited once, and the program does.
            if isinstance(answer, Awaitable):
                return self._kept_later(number, instruction, cast("Awaitable[object]", answer))
            self._keep(number, instruction, answer)
            return answer
        return super().perform(instruction, services, execute)

    async def _kept_later(self, number: int, call: ServiceCall, answer: Awaitable[object]) -> object:
        found = await answer
        self._keep(number, call, found)
        return found

    def _keep(self, number: int, call: ServiceCall, answer: object) -> None:
        """Keep an answer for a test. One that its type cannot encode is given by type again."""
        with suppress(InvalidInput):
            self.kept[number] = Recorded.of(call, answer)

    def own(self, before: Instance | None, transition: Transition) -> None:
        super().own(before, transition)
        # After the commit, because the watching store reports it only then.
        self.row = self.backend.instance(self.address)
        if not self.steps:
            return
        step = self.steps[-1]
        step.after = self.row
        for event in transition.events:
            ended = outcome_in(event)
            if ended is not None and step.what == "run":
                step.outcome = ended[1]

    # ------------------------------------------------------------ requests
    async def again(self, client: Client, request: PastRequest) -> None:
        """Send a request again."""
        shown = redacted_payload(self.job, request.action, request.payload or "")
        sender = "" if request.told_by is None else f", from {request.told_by}"
        step = self.begin("request", shortened(f"{request.action}  {shown}".rstrip() + sender, 1_000))
        try:
            job = client.handle_by_name(self.address.kind, self.address.name)
            # Without its idempotency key, which the log does not keep: a keyed repeat would be answered and change
            # nothing.
            answer = await result_of(job.call(request.action, self.address.id, request.payload or ""))
        except RequestError as refused:
            answer = Failure(refused)
        match answer:
            case Success(value):
                step.outcome = shortened(orjson.dumps(value).decode(), 1_000)
            case Failure(problem):
                step.outcome = shortened(f"refused: {type(problem).__name__}: {problem}", 1_000)
            case other:
                raise TypeError(other)


def _arguments(call: ServiceCall) -> str:
    return ", ".join([*map(excerpt, call.args), *(f"{name}={excerpt(each)}" for name, each in call.kwargs.items())])


def _suspended(frame: FrameType | None) -> tuple[ProgramFrame, ...]:
    """Return the suspended functions. One that calls this one drives the program's loop."""
    for _ in range(_MAX_FRAMES):
        if frame is None:
            break
        loop = frame.f_locals.get("loop")
        if isinstance(loop, GeneratorType) and (found := frames_of(cast("Loop[Any, Any]", loop))):
            return found
        frame = frame.f_back
    return ()


def _state(job: AnyDefinition, row: Instance | None) -> str | None:
    try:
        return None if row is None else shown_text(job, row)
    except InvalidInput:
        return None


# ---------------------------------------------------------------- the debugger
@attrs.define(repr=False)
class HistoryDebugger:
    """Goes through an instance's requests and runs, forwards and backwards, as they happen again.

    Args:
        definition: the instance's definition.
        life: the history.
        at: how many steps have happened at first. -1: all.
        answers: how services answer. By default with the first success that the type declares.
        seed: decides jitter and ids.
        most: how many steps it may have.

    Attributes:
        at: how many steps have happened.
        changed: whether an answer or a request is not the stored one.

    Raises:
        DefinitionError: there are more steps, or fewer, or the life is longer than 366 days.
        NoAnswers: effects have no answer.
        InvalidInput: this code cannot decode a request.
    """

    definition: AnyDefinition
    life: PastLife
    at: int = -1
    answers: ServiceAnswers = attrs.Factory(ServiceAnswers)
    seed: int = 0
    most: int = MOST_STEPS
    changed: bool = attrs.field(init=False, default=False)
    given: Mapping[int, Recorded] = attrs.field(factory=dict[int, Recorded])
    _seen: _Replay = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._seen = self._replayed(self.life, self.given)
        # Position 1 always exists: a life begins with a request.
        given, self.at = self.at, 1
        self.go_to(len(self._seen.steps) if given == -1 else given)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.life.address} at {self.at} of {len(self._seen.steps)}>"

    # ------------------------------------------------------------ moving
    def go_to(self, number: int) -> HistoryPosition:
        """Go to the position after this many steps.

        Args:
            number: how many, from 1.

        Raises:
            DefinitionError: there is no such position.
        """
        last = len(self._seen.steps)
        if not 1 <= number <= last:
            raise DefinitionError("position in a history", number, f"1 to {last}")
        self.at = number
        return self.position

    def next(self) -> HistoryPosition:
        """Go to the next step.

        Raises:
            DefinitionError: there is none.
        """
        return self.go_to(self.at + 1)

    def back(self) -> HistoryPosition:
        """Go to the step before.

        Raises:
            DefinitionError: this is the first.
        """
        return self.go_to(self.at - 1)

    @property
    def position(self) -> HistoryPosition:
        """The step that has happened last."""
        return self.positions[self.at - 1]

    @property
    def positions(self) -> tuple[HistoryPosition, ...]:
        """All steps."""
        steps = self._seen.steps
        return tuple(
            HistoryPosition(
                number=number,
                of=len(steps),
                at_ms=step.at_ms,
                what=step.what,
                text=step.text,
                before=_state(self.definition, step.before),
                state=_state(self.definition, step.after),
                effects=tuple(each for _, each in step.effects),
                entries=tuple(step.entries),
                outcome=step.outcome,
                recorded=None if step.run is None else self.life.runs.get(step.run),
            )
            for number, step in enumerate(steps, start=1)
        )

    # ------------------------------------------------------------ changes
    def answer(self, value: str, *, call: int = 1, failed: bool = False) -> HistoryPosition:
        """Answer this step's call in another way. Changed answers to later calls are dropped.

        Args:
            value: the value as JSON, or with ``failed`` the typed error.
            call: which call, from 1.
            failed: whether the call fails.

        Raises:
            DefinitionError: the step has no such call.
            InvalidInput: the value does not have the effect's type.
        """
        effects = self._seen.steps[self.at - 1].effects
        if not 1 <= call <= len(effects):
            expected = f"1 to {len(effects)}" if effects else "a step that calls a service"
            raise DefinitionError("call of a step", call, expected)
        number = effects[call - 1][0]
        asked = cast("_Answers", self._seen.performer).calls[number - 1]
        check_json(value, f"answer of {asked.name}")
        given = Recorded("failed" if failed else "done", value)
        # Checked here: the engine would take a wrong answer for a failed run.
        given.result(asked)
        # Numbers count calls from the beginning: after another answer, later calls may be other ones.
        kept = {each: one for each, one in self.given.items() if each < number}
        return self._change(self.life, {**kept, number: given})

    def request(self, payload: str, *, action: str | None = None) -> HistoryPosition:
        """Let this step's request have another input. Changed answers from this step on are dropped.

        Args:
            payload: the input as JSON.
            action: another action. None: the same.

        Raises:
            DefinitionError: the step is a run.
            UnknownAction: the job has no such action.
            InvalidInput: it is no such input.
        """
        step, before = self._seen.steps[self.at - 1], self._seen.steps[: self.at - 1]
        if step.what != "request":
            raise DefinitionError("request of a step", step.text, "a step that is a request; a run takes answers")
        place = sum(each.what == "request" for each in before)
        request = attrs.evolve(
            self.life.requests[place], action=action or self.life.requests[place].action, payload=payload
        )
        # Checked before the replay, so that a mistake leaves the debugger as it is.
        self.definition.parse(request.action, payload)
        requests = (*self.life.requests[:place], request, *self.life.requests[place + 1 :])
        last = max((number for each in before for number, _ in each.effects), default=0)
        kept = {number: one for number, one in self.given.items() if number <= last}
        return self._change(attrs.evolve(self.life, requests=requests), kept)

    def _change(self, life: PastLife, given: Mapping[int, Recorded]) -> HistoryPosition:
        # First: if it fails, the debugger still shows the unchanged history.
        self._seen = self._replayed(life, given)
        self.life, self.given, self.changed = life, given, True
        return self.go_to(min(self.at, len(self._seen.steps)))

    # ------------------------------------------------------------ the replay
    def _replayed(self, life: PastLife, given: Mapping[int, Recorded]) -> _Replay:
        first_ms = life.requests[0].at_ms
        if life.until_ms - first_ms > LONGEST_MS:
            raise DefinitionError("length of a history", duration(life.until_ms - first_ms), "366 days or less")
        image = Image(at_ms=first_ms, epoch=0, instances={}, total=0)
        performer = _Answers(self.answers, {}, self.seed, address=life.address, changed=given)
        app = App(cast("Any", NoServices())).with_jobs(self.definition)

        def recording(*parts: Any) -> Recorder:
            return _Replay(*parts, address=life.address, most=self.most * _ENTRIES_OF_A_STEP, most_steps=self.most)

        with on_stage(app, image, performer, recording=recording, history="366 days") as stage:
            client, simulation, seen = stage.enter(), stage.simulation, cast("_Replay", stage.recorder)
            for request in life.requests:
                _advance(simulation, seen, request.at_ms)
                seen.runtime.spawn(seen.again(client, request), name="request")
                # Let the request arrive before the next one of the same instant: their order is that of the history.
                simulation.advance(0)
            _advance(simulation, seen, life.until_ms)
            # By number and attempt: the history says up to which run it goes.
            last = max(life.runs, default=(0, 0))
            # Retries have another jitter here: the last run may come later than in the past.
            for _ in range(_HOURS_LATER):
                if any(step.run is not None and step.run >= last for step in seen.steps) or last == (0, 0):
                    break
                _advance(simulation, seen, simulation.now_ms + LOOKS_EVERY_MS)
        if performer.missing:
            raise NoAnswers(performer.missing)
        if seen.is_full:
            raise DefinitionError("steps of a history", f"more than {self.most:,}", "a younger instance")
        return seen

    # ------------------------------------------------------------ results
    def world(self, services: object = None) -> World:
        """Return a world that continues from this step, with the instance as it is then.

        Messages that were sent before are not there.

        Args:
            services: the services in this world. None: there are none.

        Raises:
            DefinitionError: this step has ended the instance.
        """
        step = self._seen.steps[self.at - 1]
        if step.after is None:
            raise DefinitionError("step of a world", step.text, "a step after which there is an instance")
        return world_of(self.definition, services, [(step.after, ())], step.at_ms)

    def as_test(self) -> str:
        """Return a test as text: that these requests, with these answers, come to this step.

        The requests are as the history has them, without marked secrets.
        """
        position = self.position
        last = max((number for each in self._seen.steps[: self.at] for number, _ in each.effects), default=0)
        kept = {number: one for number, one in self._seen.kept.items() if number <= last}
        # Later requests would not change this step, and would make the test longer.
        requests = [each for each in self.life.requests if each.at_ms <= position.at_ms]
        history = {
            "id": self.life.address.id,
            "until_ms": position.at_ms,
            "seed": self.seed,
            "requests": [[each.at_ms, each.action, each.payload] for each in requests],
            "answers": [[number, one.form, one.value] for number, one in kept.items()],
        }
        name, lines = test_text(self.definition, type(self).__name__)
        return "\n".join(
            [
                *lines,
                f"HISTORY = {orjson.dumps(history).decode()!r}",
                "",
                "",
                f"def test_{identifier(self.definition.name)}_acts_as_recorded() -> None:",
                f"    position = HistoryDebugger.of_json({name}, HISTORY, at={self.at}).position",
                f"    assert position.calls == {position.calls!r}",
                f"    assert position.state {'is' if position.state is None else '=='} {position.state!r}",
                "",
            ]
        )

    @classmethod
    def of_json(cls, definition: AnyDefinition, history: str, *, at: int = -1) -> HistoryDebugger:
        """Return the debugger that a test from `as_test` describes.

        Args:
            definition: the instance's definition.
            history: the requests and answers, as JSON.
            at: how many steps. -1: all.

        Raises:
            StoreCorrupt: it is no such text.
            DefinitionError: there are fewer steps.
        """
        try:
            data = orjson.loads(history)
            address = definition.address(data["id"])
            requests = tuple(PastRequest(at_ms, address, *each) for at_ms, *each in data["requests"])
            given = {number: Recorded(form, value) for number, form, value in data["answers"]}
            life = PastLife(address, requests, {}, data["until_ms"])
            seed: int = data["seed"]
        except (ValueError, TypeError, KeyError) as problem:
            raise StoreCorrupt("history of a test", f"not a text of as_test: {problem!r}") from problem
        return cls(definition, life, at, seed=seed, given=given)


def _advance(simulation: Simulation, seen: _Replay, until_ms: int) -> None:
    while simulation.now_ms < until_ms and not seen.is_full:
        simulation.advance(min(LOOKS_EVERY_MS, until_ms - simulation.now_ms))
    simulation.advance(0)


async def debug_history(
    jobs: Client,
    definition: AnyDefinition,
    id_: str,
    /,
    *,
    at: int | None = None,
    answers: ServiceAnswers | None = None,
) -> HistoryDebugger:
    """Open the history that a task, a continuous job, a debounce or a pool's item has. The instance may have ended.

    Args:
        jobs: the open client for an engine in this process.
        definition: the definition, with ``accepted_in_events="payload"``.
        id_: the instance.
        at: how many steps have happened at first. None: all.
        answers: how services answer. By default with the first success that the type declares.

    Raises:
        InvalidArgument: the client belongs to another process.
        DefinitionError: there is no such history, or it has fewer steps.
        NoAnswers: effects have no answer.
        InvalidInput: this code cannot decode a request.
    """
    gateway = local_gateway(jobs, of="debug_history")
    life = await read_life(gateway, definition, definition.address(check_id(id_)))
    return HistoryDebugger(definition, life, -1 if at is None else at, answers or ServiceAnswers())
