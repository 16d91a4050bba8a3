"""The command ``perdure debug``: it steps through the journal of a workflow, or through the history of other jobs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

import attrs
import orjson

from perdure.cli.instances.presentation import error_text
from perdure.cli.instances.selection import AddressArgument, address_of
from perdure.cli.options import Repeated, pair_of
from perdure.cli.process import ExitCode, UsageError, code_of, write_lines
from perdure.cli.target.at_rest import AtRest
from perdure.cli.target.opening import UNSET, TargetOptions, open_store, open_target
from perdure.cli.target.target import InstanceRequest
from perdure.values.address import Address
from perdure.values.errors import DefinitionError, InvalidInput, PerdureError, ServerUnreachable
from perdure.values.excerpt import excerpt, one_line, shortened
from perdure.values.listings import StepRecord
from perdure.values.times import from_ms

if TYPE_CHECKING:
    from perdure.rehearsal import HistoryDebugger, HistoryPosition, JournalDebugger, ProgramFrame  # an extra

DEBUG_HELP: Final = (
    "next, back       give the program the next recorded answer, or take the last one back",
    "go N             go to the position after N answers",
    "where            show the position: the line, the steps that the program waits for, the next answer",
    "steps            list the recorded answers",
    "state            show the state",
    "locals           show the suspended functions with their local variables",
    "answer JSON      answer the next step with this value instead; fail JSON: with this typed error",
    "test [FILE]      print a test that the program comes to this position, or write it into a new file",
    "fork ID          fork the stored workflow from here: a running engine begins the workflow ID with this step",
    "quit             end",
)
HISTORY_HELP: Final = (
    "next, back       go to the next request or run, or to the one before",
    "go N             go to the request or run N",
    "where            show it: the state before and after, the effects with their answers, what else it did",
    "steps            list the requests and runs",
    "state            show the state after it",
    "locals           show where the program waited for each effect, with its local variables",
    "answer JSON      answer its effect with this value instead; fail JSON: with this typed error; #2 JSON: the second",
    "request JSON     let the request have this input instead",
    "test [FILE]      print a test that the instance acts like this, or write it into a new file",
    "quit             end",
)


def debug(
    address: AddressArgument,
    /,
    *,
    target: TargetOptions = UNSET,
    at: int | None = None,
    answer: Repeated = (),
) -> int:
    """Step through the journal of a workflow, or the history of another instance. Inspect it, and answer otherwise.

    The program of the app is replayed from the journal, as the engine does, or from the requests in the history. No
    service is called, and nothing is written, except by the command fork. Read the store with --store and --app, also
    beside a running engine. Commands come from the terminal, or line by line from a pipe. Type help for a list.

    Exit code: 0 done, 2 the command cannot start, 3 a line from a pipe is refused, 4 no engine answers a fork.

    Parameters
    ----------
    at
        The number of answers, or of requests and runs, at which it begins. By default all.
    answer
        For a history, the answer of an effect: NAME=JSON, such as 'fetch=3'. By default the simplest success of the
        declared type. Repeatable.
    """
    named = address_of(address)
    store = target.store or os.environ.get("PERDURE_STORE")
    if not store:
        raise UsageError("debug reads the rows of a store: pass --store URL and --app MODULE:APP")
    try:
        # The code of the job may print, while a replay runs it.
        with open_store(store, target.app or os.environ.get("PERDURE_APP")) as found, redirect_stdout(sys.stderr):
            lines = _opened(found, named, target, at, answer)
    except (DefinitionError, InvalidInput) as problem:
        raise UsageError(str(problem)) from problem
    return lines.run()


def _opened(found: AtRest, named: Address, target: TargetOptions, at: int | None, answer: Sequence[str]) -> _Lines:
    from perdure.rehearsal import FromJson, HistoryDebugger, JournalDebugger, NoAnswers, ServiceAnswers  # noqa: PLC0415 - an extra
    from perdure.rehearsal.past import read_life  # noqa: PLC0415 - as above

    job = found.gateway.definition_of(named)
    if job is None:
        raise UsageError(f"{named}: the code of the job steps through it: pass --app MODULE:APP")
    first = -1 if at is None else at
    if job.keeps_journal:
        if answer:
            raise UsageError("--answer is for a history: a journal has its answers; type answer JSON at a step")
        return _JournalLines(target, JournalDebugger(job, *found.rows(named), first))
    given = {name: FromJson(text) for name, text in (pair_of(each, "--answer fetch=3") for each in answer)}
    life = found.reader.wait(read_life(found.gateway, job, named))
    try:
        return _HistoryLines(target, HistoryDebugger(job, life, first, ServiceAnswers(given=given)))
    except NoAnswers as missing:
        raise UsageError(str(missing)) from missing


@attrs.define
class _Lines:
    """Reads lines, and performs their commands."""

    HELP: ClassVar[Sequence[str]]
    SHORT_HELP: ClassVar[str]
    target: TargetOptions

    def run(self) -> ExitCode:
        """Perform the lines of standard input."""
        asks = sys.stdin.isatty()
        self.where()
        if asks:
            write_lines(["type help for the commands"])
        while True:
            if asks:
                sys.stdout.write(f"({self.at}) ")
            sys.stdout.flush()
            line = sys.stdin.readline()
            command, _, rest = line.strip().partition(" ")
            if not line or command in {"quit", "q"}:
                return ExitCode.DONE
            try:
                self._perform(command, rest.strip())
            except (PerdureError, UsageError, OSError) as problem:
                sys.stderr.write(f"perdure: {one_line(self.scrubbed(str(problem)))}\n")
                if not asks:
                    # A script ends here: its next lines expect the position that this one did not reach.
                    return code_of(problem) if isinstance(problem, ServerUnreachable) else ExitCode.REFUSED

    def _perform(self, command: str, rest: str) -> None:
        if self.moved(command, rest):
            self.where()
            return
        match command, rest:
            case "steps", "":
                write_lines(self.steps())
            case "state" | "s", "":
                write_lines([self.state()])
            case "locals" | "l", "":
                write_lines(map(self.scrubbed, self.locals()))
            case "test", "":
                sys.stdout.write(self.as_test())
            case "test", path:
                # Never over an existing file: it may have been edited.
                with Path(path).open("x", encoding="utf-8") as file:
                    file.write(self.as_test())
                write_lines([f"{path} is written"])
            case "fork", id_ if id_:
                self.fork(id_)
            case "help" | "h" | "?", "":
                write_lines(self.HELP)
            case _:
                text = f"{command} {rest}".strip()
                raise UsageError(f"{text!r}: type one of these lines, or help: {self.SHORT_HELP}")

    @property
    def at(self) -> int:
        raise NotImplementedError

    def moved(self, command: str, rest: str) -> bool:
        """Perform a command that goes to a position. Return whether it is one."""
        raise NotImplementedError

    def where(self) -> None:
        raise NotImplementedError

    def steps(self) -> Iterator[str]:
        raise NotImplementedError

    def state(self) -> str:
        raise NotImplementedError

    def locals(self) -> Iterator[str]:
        raise NotImplementedError

    def as_test(self) -> str:
        raise NotImplementedError

    def fork(self, id_: str) -> None:
        raise NotImplementedError

    def scrubbed(self, text: str) -> str:
        """Return a text without secrets."""
        return text


def _has_moved(debugger: JournalDebugger | HistoryDebugger, command: str, rest: str) -> bool:
    """Move to another step, if the command says so. Return whether it does."""
    match command, rest:
        case "" | "where" | "w", "":
            pass
        case "next" | "n", "":
            debugger.next()
        case "back" | "b", "":
            debugger.back()
        case "go", number if number.isascii() and number.isdecimal():
            debugger.go_to(int(number))
        case _:
            return False
    return True


@attrs.define
class _JournalLines(_Lines):
    """The commands for the journal of a workflow."""

    HELP: ClassVar[Sequence[str]] = DEBUG_HELP
    SHORT_HELP: ClassVar[str] = (
        "next, back, go N, where, steps, state, locals, answer JSON, fail JSON, test, fork ID, quit"
    )
    debugger: JournalDebugger

    @property
    def at(self) -> int:
        return self.debugger.at

    def moved(self, command: str, rest: str) -> bool:
        match command, rest:
            case "answer" | "fail", text if text:
                self.debugger.answer(text, failed=command == "fail")
            case _:
                return _has_moved(self.debugger, command, rest)
        return True

    def where(self) -> None:
        position = self.debugger.position
        changed = ", with another answer than the stored one" if self.debugger.changed else ""
        lines = [f"{position.number} of {position.of} answers{changed}"]
        lines += [f"  at        {position.line}"] if position.line else []
        lines += [f"  waits for {call}" for call in position.calls] or ["  the program has ended"]
        answered = position.answered
        lines.append("  the journal ends here" if answered is None else f"  recorded  {_answer_line(answered)}")
        write_lines(map(self.debugger.scrubbed, lines))

    def steps(self) -> Iterator[str]:
        for number, step in enumerate(self.debugger.answered):
            yield f"{'>' if number == self.debugger.at else ' '} {number}  {_answer_line(step)}"

    def state(self) -> str:
        return self.debugger.shown_state()

    def locals(self) -> Iterator[str]:
        frames = self.debugger.position.frames
        if not frames:
            yield "no locals: the program has ended, or no do-block of it is suspended here"
        yield from _frame_lines(frames)

    def as_test(self) -> str:
        return self.debugger.as_test()

    def scrubbed(self, text: str) -> str:
        return self.debugger.scrubbed(text)

    def fork(self, id_: str) -> None:
        debugger = self.debugger
        if debugger.changed:
            raise UsageError("a fork performs the steps from here on again, and takes no other answer: go back to fork")
        at = debugger.instance.address
        payload = orjson.dumps({"source": at.id, "step": debugger.step}).decode()
        asked = InstanceRequest(address=attrs.evolve(at, id=id_), action="fork", payload=payload)
        with open_target(self.target) as found:
            found.check_engine()
            found.call(asked)
        write_lines([f"{asked.address} begins with step {debugger.step}"])


@attrs.define
class _HistoryLines(_Lines):
    """The commands for the history of another instance."""

    HELP: ClassVar[Sequence[str]] = HISTORY_HELP
    SHORT_HELP: ClassVar[str] = (
        "next, back, go N, where, steps, state, locals, answer JSON, fail JSON, request JSON, test, quit"
    )
    debugger: HistoryDebugger

    @property
    def at(self) -> int:
        return self.debugger.at

    def moved(self, command: str, rest: str) -> bool:
        match command, rest:
            case "answer" | "fail", text if text:
                number, _, value = text.removeprefix("#").partition(" ") if text.startswith("#") else ("1", "", text)
                if not number.isdecimal():
                    raise UsageError(f"{text!r}: write answer JSON, or answer #2 JSON for the second effect")
                self.debugger.answer(value, call=int(number), failed=command == "fail")
            case "request", text if text:
                self.debugger.request(text)
            case _:
                return _has_moved(self.debugger, command, rest)
        return True

    def where(self) -> None:
        position = self.debugger.position
        changed = ", with another answer or request than the stored one" if self.debugger.changed else ""
        lines = [f"{position.number} of {position.of} requests and runs{changed}", f"  {_moment(position)}"]
        lines.append(f"  before    {position.before or 'no instance'}")
        for effect in position.effects:
            lines += [f"  effect    {effect.call}"] + ([f"    at      {effect.line}"] if effect.line else [])
            lines.append(f"    answer  {effect.answer or 'none'}" + (", yours" if effect.changed else ""))
        lines += [f"  {entry.what:<9} {entry.text}" for entry in position.entries]
        lines.append(f"  after     {position.state or 'no instance'}")
        lines.append(f"  outcome   {position.outcome}")
        if not position.as_recorded:
            lines.append(f"  recorded  {position.recorded}: its services answered otherwise")
        write_lines(lines)

    def steps(self) -> Iterator[str]:
        for position in self.debugger.positions:
            at = ">" if position.number == self.debugger.at else " "
            recorded = "" if position.as_recorded else f", recorded {position.recorded}"
            yield shortened(f"{at} {position.number}  {_moment(position)}  {position.outcome}{recorded}", 200)

    def state(self) -> str:
        return self.debugger.position.state or "no instance"

    def locals(self) -> Iterator[str]:
        effects = self.debugger.position.effects
        if not any(each.frames for each in effects):
            yield "no locals: the program calls no service here, or has no do-block"
        for effect in effects:
            yield effect.call
            yield from (f"  {line}" for line in (f"state = {effect.state}", *_frame_lines(effect.frames)))

    def as_test(self) -> str:
        return self.debugger.as_test()

    def fork(self, id_: str) -> None:
        expected = "a fork continues a journal, and this job has none: perdure future continues from the present"
        raise UsageError(f"fork {id_}: {expected}, and HistoryDebugger.world() in Python from any step")


def _moment(position: HistoryPosition) -> str:
    return f"{from_ms(position.at_ms):%Y-%m-%d %H:%M:%S}  {position.text}"


def _frame_lines(frames: Sequence[ProgramFrame]) -> Iterator[str]:
    for frame in frames:
        yield f"{frame.function} at {frame.line}"
        for name, value in frame.locals.items():
            yield f"  {name} = {excerpt(value)}"


def _answer_line(step: StepRecord) -> str:
    error = "" if step.error is None else error_text(step.error)
    return shortened(f"{step.path}  {step.name}  {step.status}  {step.value or error}".rstrip(), 200)
