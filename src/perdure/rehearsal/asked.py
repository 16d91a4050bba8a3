"""Questions that servers answer in JSON: about the future of an instance, and about a position of a debugger."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import islice
from typing import Any, Final

import attrs
import orjson

from perdure.client.client import Client
from perdure.client.local_gateway import LocalGateway
from perdure.codecs import Codec
from perdure.jobs.definition import AnyDefinition
from perdure.rehearsal.answers import FromJson, NoAnswers, ServiceAnswers
from perdure.rehearsal.debugging import JournalDebugger, ProgramFrame, secrets_in
from perdure.rehearsal.past import PastLife, read_life
from perdure.rehearsal.replayed_history import HistoryDebugger
from perdure.rehearsal.timeline import FutureQuestion, WhatIfEvent, future_of, local_gateway, rows_of
from perdure.values.address import check_id
from perdure.values.errors import DefinitionError, InvalidArgument
from perdure.values.excerpt import MAX_LINE_CHARACTERS, excerpt, shortened
from perdure.values.instance import Instance
from perdure.values.listings import StepRecord
from perdure.values.secret import scrubbed
from perdure.values.times import duration_ms, from_ms
from perdure.wire.explanation import MOST_ENTRIES, MOST_READ


@attrs.frozen(kw_only=True)
class AskedEvent:
    """A `WhatIfEvent` in JSON."""

    action: str | None = None
    payload: object = None
    after: str = "0 ms"
    times: int = 1
    idempotency_key: str | None = None


@attrs.frozen(kw_only=True)
class AskedFuture:
    """A `FutureQuestion` in JSON, as an HTTP request carries it."""

    lasting: str = "30 days"
    events: tuple[AskedEvent, ...] = ()
    never: tuple[str, ...] = ()
    down: dict[str, str] = attrs.Factory(dict[str, str])
    fail: dict[str, float] = attrs.Factory(dict[str, float])
    answers: dict[str, object] = attrs.Factory(dict[str, object])
    latency: str = "0 ms"
    seed: int = 0
    most: int = MOST_ENTRIES
    instances: int = MOST_READ
    begins: datetime | None = None

    def question(self) -> FutureQuestion:
        """Return the question.

        Raises:
            InvalidArgument: a part is not valid.
        """
        try:
            return FutureQuestion(
                lasting=self.lasting,
                events=[
                    WhatIfEvent(
                        payload=_json(each.payload),
                        action=each.action,
                        after=each.after,
                        times=each.times,
                        idempotency_key=each.idempotency_key,
                    )
                    for each in self.events
                ],
                never=self.never,
                answers=ServiceAnswers(
                    # JSON has no way to leave out a value that is null: here null is the answer, and not the lack of
                    # one.
                    given={name: FromJson(_json(value) or "null") for name, value in self.answers.items()},
                    fail=self.fail,
                    down=self.down,
                    latency_ms=duration_ms(self.latency, what="latency of services", minimum_ms=0),
                ),
                seed=self.seed,
                most=self.most,
                instances=self.instances,
                begins=self.begins,
            )
        except DefinitionError as wrong:
            raise InvalidArgument(wrong.what, wrong.got, wrong.expected) from wrong


def _json(value: object) -> str:
    return "" if value is None else orjson.dumps(value).decode()


ASKED_FUTURE: Final[Codec[AskedFuture]] = Codec.of(AskedFuture, what="question about a future")
"""How a request carries a question."""


async def answered_future(jobs: Client, definition: AnyDefinition, id_: str, body: bytes) -> dict[str, Any]:
    """Answer a question in JSON, as a server does.

    Args:
        jobs: the client of an engine in this process.
        definition: the job.
        id_: the instance.
        body: an `AskedFuture`. Empty: the next 30 days.

    Raises:
        InvalidArgument: a part of the question is not valid, or effects have no answer.
        InvalidInput: it is not a question, or the payload of an event is not valid.
        PerdureError: the store cannot be read.
    """
    asked = ASKED_FUTURE.decode(body) if body else AskedFuture()
    try:
        return (await future_of(jobs, definition, id_, asked.question())).data()
    except NoAnswers as missing:
        raise without_answers(missing) from missing
    except DefinitionError as wrong:
        raise InvalidArgument(wrong.what, wrong.got, wrong.expected) from wrong


def without_answers(missing: NoAnswers, *, of: str = "a future") -> InvalidArgument:
    """Return the error for a caller whose question needs more answers."""
    reasons = "; ".join(f"{name}: {reason}" for name, reason in sorted(missing.reasons.items()))
    return InvalidArgument(f"answers of {of}", sorted(missing.reasons), f"an answer for each ({reasons})")


# ---------------------------------------------------------------- debuggers
MOST_DEBUGGED: Final = 10_000
"""The rows of the longest journal, and the steps of the longest history, that a server goes through."""

_STEPS_AROUND: Final = 20
_MOST_LOCALS: Final = 50


async def debugged_instance(jobs: Client, definition: AnyDefinition, id_: str, at: int | None) -> dict[str, Any]:
    """Return a position in the journal of a workflow, or in the history of another instance, without secrets.

    Args:
        jobs: the client of an engine in this process.
        definition: the job.
        id_: the instance.
        at: the number of answers, or of requests and runs. None: all.

    Raises:
        InvalidArgument: there is no such instance, history or position, it is too long, or effects have no answer.
        InvalidInput: this code cannot follow it.
        PerdureError: the store cannot be read.
    """
    gateway = local_gateway(jobs, of="debugged_instance")
    address, first = definition.address(check_id(id_)), -1 if at is None else at
    try:
        if not definition.keeps_journal:
            life = await read_life(gateway, definition, address, most=MOST_DEBUGGED)
            return await _in_thread(gateway, _of_history, (definition, life, first))
        found = (await rows_of(gateway, [address])).get(address)
        if found is None:
            raise InvalidArgument("instance of a debugger", str(address), "an instance that is stored")
        # Refused before the replay: a request must not keep a thread of a server busy for minutes.
        if len(found[1]) > MOST_DEBUGGED:
            expected = f"at most {MOST_DEBUGGED:,} rows: use perdure debug"
            raise InvalidArgument("journal of a debugger", f"{len(found[1]):,} rows", expected)
        return await _in_thread(gateway, _of_journal, (definition, *found, first))
    except NoAnswers as missing:
        raise without_answers(missing, of="a debugger") from missing
    except DefinitionError as wrong:
        raise InvalidArgument(wrong.what, wrong.got, wrong.expected) from wrong


async def _in_thread(
    gateway: LocalGateway, found: Callable[..., dict[str, Any]], parts: tuple[Any, ...]
) -> dict[str, Any]:
    """Replay in a thread, so that the engine continues."""
    answer: Any = await gateway.engine.runtime.elsewhere("thread", found, parts, {})
    position: dict[str, Any] = answer
    return position


def _of_journal(definition: AnyDefinition, row: Instance, rows: tuple[str, ...], at: int) -> dict[str, Any]:
    debugger = JournalDebugger(definition, row, rows, at)
    position, secrets = debugger.position, secrets_in(debugger)

    def shown(text: str) -> str:
        return scrubbed(text, secrets) if secrets else text

    numbers = _around(position.number, 0, position.of)
    # Only the answers around the position: a journal has thousands, and each would be redacted for a page that shows
    # forty.
    answers = {number: shown(_answer(debugger.answered[number])) for number in numbers if number < position.of}
    return {
        "form": "journal",
        "number": position.number,
        "of": position.of,
        "first": 0,
        "facts": [
            ["line", position.line or ""],
            *(["waits for", shown(call)] for call in position.calls or ("nothing: the program has ended",)),
            ["recorded", answers.get(position.number, "nothing more: the journal ends here")],
        ],
        "before": None,
        "state": debugger.shown_state(),
        "calls": [],
        "frames": [_frame(each, shown) for each in position.frames],
        "entries": [],
        "steps": [[number, answers.get(number, "the end of the journal")] for number in numbers],
    }


def _of_history(definition: AnyDefinition, life: PastLife, at: int) -> dict[str, Any]:
    debugger = HistoryDebugger(definition, life, at, most=MOST_DEBUGGED)
    positions, position = debugger.positions, debugger.position
    recorded = "" if position.as_recorded else f"{position.recorded}: its services answered otherwise"
    return {
        "form": "history",
        "number": position.number,
        "of": position.of,
        "first": 1,
        "facts": [
            ["time", f"{from_ms(position.at_ms):%Y-%m-%d %H:%M:%S} UTC"],
            [position.what, position.text],
            ["outcome", position.outcome],
            ["recorded", recorded],
        ],
        "before": position.before,
        "state": position.state,
        "calls": [
            {
                "call": each.call,
                "answer": each.answer,
                "line": each.line or "",
                "frames": [_frame(frame, str) for frame in each.frames],
            }
            for each in position.effects
        ],
        "frames": [],
        "entries": [[each.what, each.text] for each in position.entries],
        "steps": [
            [number, shortened(f"{positions[number - 1].text}: {positions[number - 1].outcome}", MAX_LINE_CHARACTERS)]
            for number in _around(position.number, 1, position.of)
        ],
    }


def _around(number: int, first: int, last: int) -> range:
    return range(max(first, number - _STEPS_AROUND), min(last, number + _STEPS_AROUND) + 1)


def _answer(step: StepRecord) -> str:
    error = "" if step.error is None else f"{step.error.error_type}: {step.error.message}"
    return shortened(f"{step.path}  {step.name}  {step.status}  {step.value or error}".rstrip(), MAX_LINE_CHARACTERS)


def _frame(frame: ProgramFrame, shown: Callable[[str], str]) -> dict[str, Any]:
    # Locals may hold secrets that no type marks where they are: the texts of known secrets are searched.
    named = [[name, shown(excerpt(value))] for name, value in islice(frame.locals.items(), _MOST_LOCALS)]
    return {"function": frame.function, "line": frame.line, "locals": named}
