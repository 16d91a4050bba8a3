"""A crowd whose calls have answers: appends, conditional appends that say the length when they are refused, and reads.

The checker of histories must find an order of the calls of each ledger that explains all answers.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import attrs
from crowd import IDS, Ask, Crowd
from ledger import Append, End, Mismatch, Numbers, decide, model
from returns.result import Failure, Result, Success
from world import HasOutside, Refused, say

from perdure import Do, Task, TaskContext, fail, program
from perdure.jobs.definition import AnyDefinition
from perdure.testing.linearizability import TimedCall, check_linearizable
from perdure.values.answer import Sent
from perdure.values.errors import Rejected
from perdure.values.times import Duration

INTERRUPTED: Final = "interrupted"
"""The answer of an append during which the ledger was deleted: it comes before the deletion is durable."""


@program
def append(ctx: TaskContext[Numbers], event: Append) -> Do[None, Mismatch | Refused, HasOutside]:
    """Append after an effect."""
    numbers = yield from ctx.state
    if event.expected not in (None, len(numbers)):
        yield from fail(Mismatch(len(numbers)))
    yield from say(f"append {event.number}#{ctx.attempt}.{ctx.delivery}")
    yield from ctx.set_state((*numbers, event.number))


def unused(ctx: Any) -> Any:
    return ctx.terminate("unused")


quick = Task("quick", state=Numbers, event=Append, initial=(), decide=decide, execute=unused)
slow = Task("slow", state=Numbers, event=Append, initial=(), on_event=append, execute=unused)


@attrs.define
class LedgerCrowd(Crowd):
    """Appends to few ledgers, and reads them.

    Attributes:
        history: all calls that were answered; and those that were not, but may have changed a ledger.
    """

    jobs: ClassVar[tuple[AnyDefinition, ...]] = (quick, slow)
    requests: int = 30
    pause_ms: float = 100
    latency: Duration = "40 ms"  # so that rivals read the same version
    history: list[TimedCall] = attrs.Factory(list[TimedCall])

    async def _request(self, key: str, kind: int) -> None:
        job, id_ = (quick, slow)[self.below(2)], IDS[self.below(2)]
        match kind:
            case 0 | 1 | 2:
                asked = None
            case 3 | 4 | 5:
                asked = Append(len(self.history), self.below(12))
            case 6:
                asked = End(self.below(2) == 0)
            case _:
                asked = Append(len(self.history))
        self.history.append(TimedCall(of=(job.name, id_), asked=asked, called_at=self.cluster.runtime.monotonic_ms()))
        await self._noted(len(self.history) - 1, key, call_of(job, id_, asked, key))

    async def _noted(self, number: int, key: str, call: Ask) -> None:
        """Make a call until it is answered by the job, and note the answer."""
        answer: object = None

        def answered_by(found: Result[Any, Any]) -> bool:
            nonlocal answer
            match found:
                case Success(Sent(status=None)):
                    answer = INTERRUPTED
                case Success(value):
                    answer = answer_to(self.history[number].asked, value)
                case Failure(Rejected(error=Mismatch(length))):
                    answer = length
                case _:
                    return False
            return True

        await self.ask(key, call, answered_by)
        if answer is INTERRUPTED:
            return
        now_ms = self.cluster.runtime.monotonic_ms()
        self.history[number] = attrs.evolve(self.history[number], answered_at=now_ms, answer=answer)

    def _check(self) -> None:
        check_linearizable(self.history, initial=(), apply=model)


def answer_to(asked: Append | End | None, value: Any) -> object:
    """Return the answer of a call that succeeded, as the model has it."""
    if asked is None:
        return value or ()
    return "appended" if isinstance(asked, Append) else "ended"


def call_of(job: Any, id_: str, asked: Append | End | None, key: str) -> Ask:
    """Return the function that makes a call."""
    if isinstance(asked, End):
        return lambda client: client.handle(job).terminate(id_, interrupt=asked.interrupt, idempotency_key=key)
    if asked is None:
        return lambda client: client.handle(job).get_state(id_)
    return lambda client: client.handle(job).send(id_, asked, idempotency_key=key)
