"""Questions about futures in JSON, which servers answer."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import attrs
import orjson

from perdure.client.client import Client
from perdure.codecs import Codec
from perdure.jobs.definition import AnyDefinition
from perdure.rehearsal.answers import FromJson, NoAnswers, ServiceAnswers
from perdure.rehearsal.timeline import FutureQuestion, WhatIfEvent, future_of
from perdure.values.errors import DefinitionError, InvalidArgument
from perdure.values.times import duration_ms
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


def without_answers(missing: NoAnswers) -> InvalidArgument:
    """Return the error for a caller whose question needs more answers."""
    reasons = "; ".join(f"{name}: {reason}" for name, reason in sorted(missing.reasons.items()))
    return InvalidArgument("answers of a future", sorted(missing.reasons), f"an answer for each ({reasons})")
