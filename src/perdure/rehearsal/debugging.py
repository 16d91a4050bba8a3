"""Debug a journal: a workflow at any step of its journal, with its state and its locals, and with other answers.

The program is replayed from its beginning, as the engine replays it. Nothing is performed and nothing is written.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from types import GeneratorType
from typing import Any, cast

import attrs
import orjson

from perdure.app import App
from perdure.client.client import Client
from perdure.codecs import Codec
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.redaction import redacted_instance, secrets_of_instance
from perdure.jobs.step import NextStep
from perdure.kinds.workflow import Workflow
from perdure.kinds.workflow.commands import ForkInput
from perdure.kinds.workflow.header import Header, Shared, header_of, written
from perdure.kinds.workflow.instructions import OneStep
from perdure.kinds.workflow.journal import Row, body_of, codecs_of, prefix_of, row_of, whole_row
from perdure.kinds.workflow.step_listing import next_steps
from perdure.programs import ServiceCall
from perdure.programs.instructions import DO
from perdure.programs.interpreter import Loop, stack_of
from perdure.rehearsal.future import NoServices
from perdure.rehearsal.timeline import local_gateway, rows_of
from perdure.runtime.record import Runtime
from perdure.stores.contract import Store
from perdure.stores.memory import MemoryBackend
from perdure.stores.rows import from_json, to_json
from perdure.testing.world.clock import Clock
from perdure.testing.world.source_code import name_of
from perdure.testing.world.world import World
from perdure.values.address import check_id
from perdure.values.errors import DefinitionError, ForkRefused, InvalidArgument, InvalidInput
from perdure.values.excerpt import REFERENCE, excerpt, fields_in_line, size_only
from perdure.values.instance import Instance
from perdure.values.listings import StepRecord
from perdure.values.secret import scrubbed, texts_of
from perdure.values.times import from_ms


@attrs.frozen
class ProgramFrame:
    """A function of the program that is suspended.

    Attributes:
        function: its name.
        line: the line where it waits, as ``file:number``.
        locals: its local variables, by name.
    """

    __repr__ = fields_in_line

    function: str
    line: str
    locals: Mapping[str, object] = attrs.field(repr=size_only)


@attrs.frozen(kw_only=True)
class JournalPosition:
    """A workflow after some answers of its journal.

    Attributes:
        number: how many answers the program has received.
        of: how many the journal holds.
        answered: the step whose answer comes next. None at the end of the journal.
        waiting: the steps that the program waits for, each with its line.
        state: the state as JSON.
        frames: the suspended functions, the innermost one last. Empty for a program without do-blocks, and for one that
            has ended.
    """

    __repr__ = fields_in_line

    number: int
    of: int
    answered: StepRecord | None
    waiting: tuple[NextStep, ...]
    state: str = attrs.field(repr=size_only)
    frames: tuple[ProgramFrame, ...]

    @property
    def line(self) -> str | None:
        """The line that receives the next answer, or else the line of the first step that is waited for."""
        path = None if self.answered is None else self.answered.path
        # False sorts before True: the step with this path comes first.
        return next((each.line for each in sorted(self.waiting, key=lambda each: each.path != path)), None)

    @property
    def calls(self) -> tuple[str, ...]:
        """The steps that the program waits for, with their arguments."""
        return tuple(map(_call, self.waiting))


def _call(step: NextStep) -> str:
    instruction = step.instruction
    if not isinstance(instruction, ServiceCall | OneStep):
        return step.name
    given = [excerpt(each) for each in instruction.args]
    if isinstance(instruction, ServiceCall):
        given += [f"{name}={excerpt(value)}" for name, value in instruction.kwargs.items()]
    return f"{step.name}({', '.join(given)})"


@attrs.define(repr=False)
class JournalDebugger:
    """Goes through the journal of a workflow, forwards and backwards.

    Args:
        definition: the workflow's definition.
        instance: its row.
        rows: its journal.
        at: the number of answers that the program has received at first. -1: all.

    Attributes:
        at: the number of answers that the program has received.
        changed: whether an answer is not the stored one.

    Raises:
        DefinitionError: the job has no journal, or there are fewer answers.
        InvalidInput: this code cannot follow the journal. The problem names the step and the line.
    """

    definition: AnyDefinition
    instance: Instance
    rows: tuple[str, ...]
    at: int = -1
    changed: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self.rows = tuple(self.rows)
        if not isinstance(self.definition, Workflow):
            what = f"{self.definition.kind}:{self.definition.name}"
            expected = "a workflow: a run of another kind begins and ends in one turn, and keeps no journal"
            raise DefinitionError("job of a journal", what, expected)
        # From 0, which is always a position: `go_to` restores the position before it, if the wanted one fails.
        given, self.at = self.at, 0
        self.go_to(len(self.answered) if given == -1 else given)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.instance.address} at {self.at} of {len(self.answered)}>"

    # ------------------------------------------------------------ moving
    @property
    def _workflow(self) -> Workflow[Any, Any, Any]:
        return cast("Workflow[Any, Any, Any]", self.definition)

    @property
    def answered(self) -> tuple[StepRecord, ...]:
        """The steps that the journal answers, in order, without secrets."""
        steps = self._workflow.steps(self.instance, self.rows)
        # Steps that are still waited for follow the answered ones.
        return steps[: self._workflow.answers_in(self.instance, self.rows)]

    def _length(self, number: int) -> int:
        """Return how many rows hold this many answers."""
        # One answer may take several rows, of parts and arrivals, and the number of answers only grows with the rows.
        return bisect_left(
            range(len(self.rows)),
            number,
            key=lambda length: self._workflow.answers_in(self.instance, self.rows[:length]),
        )

    def go_to(self, number: int) -> JournalPosition:
        """Go to the position after this many answers.

        Args:
            number: how many.

        Raises:
            DefinitionError: there is no such position.
            InvalidInput: this code cannot follow the journal up to there.
        """
        last = len(self.answered)
        if not 0 <= number <= last:
            raise DefinitionError("position in a journal", number, f"0 to {last}")
        # Changed only if this code follows the journal up to there. A debugger at a position that it cannot show could
        # not go back.
        before, self.at = self.at, number
        try:
            return self.position
        except InvalidInput:
            self.at = before
            raise

    def next(self) -> JournalPosition:
        """Give the program the next answer of the journal.

        Raises:
            DefinitionError: there is none.
            InvalidInput: this code cannot follow it.
        """
        return self.go_to(self.at + 1)

    def back(self) -> JournalPosition:
        """Take the last answer back.

        Raises:
            DefinitionError: the program has received none.
        """
        return self.go_to(self.at - 1)

    @property
    def position(self) -> JournalPosition:
        """Where the program is.

        Raises:
            InvalidInput: this code cannot follow the journal.
        """
        answered = self.answered
        length = self._length(self.at)
        # The end is the last row's: before it, the workflow has not ended.
        replayed = self._workflow.replay(self.instance, self.rows[:length])
        try:
            frames = tuple(frame for branch in replayed.tree.branches.values() for frame in frames_of(branch.loop))
            encoded = self.definition.plan.state.encode(replayed.draft.state).decode()
            return JournalPosition(
                number=self.at,
                of=len(answered),
                answered=answered[self.at] if self.at < len(answered) else None,
                waiting=next_steps(replayed),
                state=encoded,
                frames=frames,
            )
        finally:
            # Generators that are left open would run their `finally` blocks at any later moment.
            replayed.tree.close()

    @property
    def step(self) -> str | None:
        """The path of the step whose answer comes next, or that is waited for: a fork from here begins with it."""
        position = self.position
        if position.answered is not None:
            return position.answered.path
        return position.waiting[0].path if position.waiting else None

    # ------------------------------------------------------------ other answers
    def answer(self, value: str, *, failed: bool = False) -> JournalPosition:
        """Answer the next step in another way, and go there. The answers behind it are left out.

        Args:
            value: the value of the step as JSON, or with ``failed`` its typed error.
            failed: whether the step fails.

        Raises:
            DefinitionError: the program waits for nothing, or for a time, a signal or a child.
            InvalidInput: the value does not have the type of the step.
        """
        position = self.position
        path = None if position.answered is None else position.answered.path
        steps = sorted(position.waiting, key=lambda each: each.path != path)
        asked = next((each for each in steps if isinstance(each.instruction, ServiceCall | OneStep)), None)
        if asked is None or (path is not None and asked.path != path):
            waits = ", ".join(each.name for each in steps) or "nothing"
            raise DefinitionError("answer of a step", f"a wait for {waits}", "a step that calls a service")
        self._check(asked, value, failed=failed)
        kept = self.rows[: self._length(self.at)]
        # Time stands still in a made-up answer: a later instant would let timers of the program pass.
        last_ms = max((row_of(body).at_ms for body in kept), default=self.instance.created_ms)
        row = Row(
            path=asked.path,
            name=asked.name,
            form="failed" if failed else "done",
            at_ms=last_ms,
            began_ms=last_ms,
            value=value,
        )
        before = self.rows, self.changed
        self.rows, self.changed = (*kept, body_of(row)), True
        try:
            return self.next()
        except InvalidInput:
            # The program may refuse the answer, by asking for other steps than the journal then has.
            self.rows, self.changed = before
            raise

    def _check(self, asked: NextStep, value: str, *, failed: bool) -> None:
        check_json(value, f"answer of {asked.name}")
        values, errors = codecs_of(cast("ServiceCall | OneStep", asked.instruction))
        codec: Codec[Any] | None = errors if failed else values
        if codec is None:
            raise InvalidInput(f"answer of {asked.name}", ("$: the step declares no error",))
        codec.decode(value.encode())

    # ------------------------------------------------------------ results
    def world(self, services: object = None) -> World:
        """Return a world that continues from this position.

        Steps that have ended are kept, made-up answers too. Those in progress begin again. The parent is not there.

        Args:
            services: the services in this world. None: there are none.

        Raises:
            DefinitionError: the program has ended at this position, or the journal cannot be forked.
            InvalidInput: this code cannot follow the journal.
        """
        rows, header = self.rows[: self._length(self.at)], header_of(self.instance)
        forms = {row_of(body).form for body in rows}
        # A cancelled program is halted by a row, and its fork would not be.
        if self.step is None or "cancelled" in forms:
            what = "a cancelled program" if "cancelled" in forms else "the end of the program"
            raise DefinitionError("position of a world", what, "a position before it; go back")
        address = self.instance.address
        wanted, kept = ForkInput(source=address.id), attrs.evolve(header, ended=None)
        state = header.first or self.instance.state
        prefix = prefix_of(str(address), kept, rows, wanted, state=state)
        if isinstance(prefix, ForkRefused):
            raise DefinitionError("position of a world", str(prefix), "another position")
        at_ms = max((row_of(body).at_ms for body in rows), default=header.started_ms)
        # A new header: the row's own has counters for rows that this prefix does not have.
        begun = Header(
            run_id=header.run_id,
            started_ms=header.started_ms,
            signals=prefix.signals,
            waiting=prefix.waiting,
            shared=Shared(published=prefix.published) if prefix.published else None,
            forked=None if header.forked is None else prefix.forked,
        )
        row = Instance(
            address=address,
            incarnation=1,
            version=1,
            created_ms=self.instance.created_ms,
            updated_ms=at_ms,
            state=state,
            state_version=self.instance.state_version,
            data=written(begun),
            journal_length=len(prefix.bodies),
            alarm_ms=at_ms,
        )
        return world_of(self.definition, services, [(row, prefix.bodies)], at_ms)

    def as_test(self) -> str:
        """Return a test as text: that the program, with the answers so far, comes to this position.

        It does not contain the secrets that the definition marks.

        Raises:
            DefinitionError: an answer has secrets.
        """
        rows = self.rows[: self._length(self.at)]
        # A test is committed to a repository. Better no test than one with a secret.
        if self.definition.has_secret_rows(rows):
            expected = "answers without marked secrets; change them with `answer`"
            raise DefinitionError("journal of a test", "an answer that has secrets", expected)
        shown = redacted_instance(self.definition, self.instance, hide=_blank)
        name, first = test_text(self.definition, type(self).__name__)
        attrs_ = attrs.evolve(self, instance=shown, rows=rows, at=self.at)
        position = attrs_.position
        lines = [
            *first,
            f"INSTANCE = {to_json(shown)!r}",
            "ROWS = (",
            *(f"    {body!r}," for body in rows),
            ")",
            "",
            "",
            f"def test_{identifier(self.definition.name)}_continues_as_recorded() -> None:",
            f"    position = JournalDebugger.of_json({name}, INSTANCE, ROWS).position",
            f"    assert position.calls == {position.calls!r}",
            f"    assert position.state == {position.state!r}",
        ]
        return "\n".join(lines) + "\n"

    @classmethod
    def of_json(cls, definition: AnyDefinition, instance: str, rows: Sequence[str]) -> JournalDebugger:
        """Return the debugger that a test of `as_test` describes, at the end of the rows.

        Args:
            definition: the workflow's definition.
            instance: its row as JSON.
            rows: its journal.
        """
        return cls(definition, from_json(Instance, instance, what="instance of a test"), tuple(rows))

    def shown_state(self) -> str:
        """Return the state as JSON, with each marked secret hidden."""
        return self.definition.plan.state.redact(self.position.state.encode()).decode()

    def scrubbed(self, text: str) -> str:
        """Return a text without the secrets of the instance and of its answers.

        Args:
            text: the text.
        """
        secrets = secrets_in(self)
        return scrubbed(text, secrets) if secrets else text


def secrets_in(debugger: JournalDebugger) -> set[str]:
    """Return the secrets of a workflow and of its answers."""
    secrets = set(secrets_of_instance(debugger.definition, debugger.instance))
    parts: dict[str, str] = {}
    first = header_of(debugger.instance).skips
    for place, body in enumerate(debugger.rows):
        # Rows that are skipped may refer to parts that `start_over` has deleted.
        row = whole_row(body, parts) if place >= first else row_of(body)
        if row.secret and row.value and row.value[:1] != REFERENCE and row.form != "part":
            secrets.update(texts_of(orjson.loads(row.value)))
    return secrets


def frames_of(loop: Loop[Any, Any]) -> tuple[ProgramFrame, ...]:
    """Return a suspended program's do-blocks, the innermost one last, without those of the library."""
    found: list[ProgramFrame] = []
    for tag, payload in stack_of(loop):
        if tag == DO and isinstance(payload, GeneratorType) and payload.gi_frame is not None:
            frame = payload.gi_frame
            module = str(frame.f_globals.get("__name__"))
            # Do-blocks of the library, such as `gather`, are not the reader's code.
            if module.startswith("perdure.") and not module.startswith("perdure.examples."):
                continue
            code = frame.f_code
            # A copy: the frame's own locals change as soon as the program continues.
            found.append(ProgramFrame(code.co_name, f"{code.co_filename}:{frame.f_lineno}", dict(frame.f_locals)))
    return tuple(found)


def check_json(value: str, what: str) -> None:
    """Check that a text is JSON.

    Raises:
        InvalidInput: it is not.
    """
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError as problem:
        raise InvalidInput(what, (f"$: not JSON: {problem}",)) from problem


def test_text(definition: AnyDefinition, debugger: str) -> tuple[str, list[str]]:
    """Return a definition's name in a test, and the first lines."""
    named = name_of(definition)
    name = identifier(definition.name) if named is None else named.text
    imports = [] if named is None else [f"from {module} import {name}" for module, name in sorted(named.imports)]
    missing = [] if named is not None else [f"{name} = ...  # the definition of {definition.name!r}"]
    return name, [*imports, f"from perdure.rehearsal import {debugger}", "", *missing]


def world_of(
    definition: AnyDefinition, services: object, rows: Iterable[tuple[Instance, Sequence[str]]], at_ms: int
) -> World:
    """Return a world, not yet open, that stores these rows at an instant."""
    backend = MemoryBackend()
    backend.fill(rows, (), (), epoch=1)

    async def opened(_: Runtime) -> Store:
        return backend.open()

    app: App[Any] = App(NoServices() if services is None else services).with_jobs(definition)
    return World(app, store=opened, clock=Clock(from_ms(at_ms)))


def _blank(value: object) -> Any:
    """Return a value of the same type that says nothing about a secret."""
    match value:
        case str():
            return "<secret>"
        case bool() | None:
            # None stays None, True becomes False.
            return value and False
        case int() | float():
            return type(value)(0)
        case list():
            return []
        case _:
            return {}


def identifier(name: str) -> str:
    """Return a name that Python accepts."""
    return "".join(each if each.isalnum() else "_" for each in name)


async def debug_journal(
    jobs: Client, definition: AnyDefinition, id_: str, /, *, at: int | None = None
) -> JournalDebugger:
    """Open the journal of a stored workflow.

    Args:
        jobs: the open client of an engine in this process.
        definition: the workflow's definition.
        id_: the instance.
        at: the number of answers that the program has received at first. None: all.

    Raises:
        InvalidArgument: there is no such instance, or the client is of another process.
        DefinitionError: the job has no journal, or there are fewer answers.
        InvalidInput: this code cannot follow the journal.
    """
    gateway = local_gateway(jobs, of="debug_journal")
    address = definition.address(check_id(id_))
    found = (await rows_of(gateway, [address])).get(address)
    if found is None:
        raise InvalidArgument("instance of debug_journal", str(address), "an instance that is stored")
    return JournalDebugger(definition, *found, -1 if at is None else at)
