"""A task's typed handle and sender."""

from __future__ import annotations

from functools import partial
from typing import Any, Generic, TypeVar

import attrs
import orjson
from returns.result import Failure, Result, Success
from typing_extensions import TypeForm

from perdure.codecs import Codec
from perdure.jobs.call import Call, followed, mapped, named, refused
from perdure.jobs.definition import CallError, EventError, PostCommand
from perdure.jobs.draft import PostReply
from perdure.jobs.handle import JobHandle
from perdure.jobs.request import TriggerOptions, WaitFor
from perdure.kinds.task.context import SendCommand, TriggerTaskCommand
from perdure.programs import Program, perform
from perdure.values.address import check_name
from perdure.values.answer import RunAnswer, Sent
from perdure.values.errors import InvalidArgument, InvalidInput, Undecodable
from perdure.values.excerpt import fields_in_line
from perdure.values.frozen import frozen
from perdure.values.outcome import Replied, Triggered
from perdure.values.status import Defect
from perdure.values.status_wait import NotReplied, Reached, WaitOver
from perdure.values.times import Duration

S = TypeVar("S")
V = TypeVar("V")
A = TypeVar("A")
E = TypeVar("E")
V_contra = TypeVar("V_contra", contravariant=True)


@frozen
class Reply(Generic[A]):
    """A task's reply to an event's sender. Declare it once: the task sends it, and callers ask for it.

    Attributes:
        name: the reply's name, which is stored: 1 to 128 printable characters, no ``:``.
        value: the reply's type, such as ``Receipt``.

    Raises:
        DefinitionError: the name or the type is not valid.
    """

    __repr__ = fields_in_line

    name: str
    value: TypeForm[A]
    codec: Codec[Any] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        check_name(self.name, what="name of a reply")
        object.__setattr__(self, "codec", Codec.of(self.value, what=f"reply {self.name}", ignores_other_tags=True))

    def send(self, value: A, /) -> Program[None]:
        """Send the reply with this turn's commit. The last call in a turn wins. In ``execute`` it has no receiver.

        A pure ``decide`` puts it into the ``messages`` of its `Decision`.

        Args:
            value: the reply. Another type, or more than ``payload_bytes``, is a defect in the handler.
        """
        return perform(PostReply(self.name, value, self.codec))


@attrs.frozen(repr=False)
class TaskHandle(JobHandle[S, E], Generic[S, V, E]):
    """A task's calls."""

    def send(self, id_: str, event: V, /, *, idempotency_key: str | None = None) -> Call[Sent, EventError[E]]:
        """Send an event. An absent instance is created with the definition's initial state.

        Args:
            id_: the instance.
            event: of the definition's event type. Anything else fails with ``InvalidInput``.
            idempotency_key: a repeat with this key changes nothing and returns the first result.

        Returns:
            The result after the event is handled and durable. If nothing changed: ``Rejected`` with the handler's typed
            error, ``HookRaised`` if the handler raised, ``RunTimeout`` if it timed out.
        """
        return self._send(id_, SendCommand(event), "send", event, key=idempotency_key)

    def ask(
        self, id_: str, event: V, reply: Reply[A], /, *, idempotency_key: str | None = None
    ) -> Call[A, EventError[E] | NotReplied]:
        """Send an event, and return the handler's reply.

        Args:
            id_: the instance. An absent one is created, as by `send`.
            event: as for `send`.
            reply: the reply's declaration.
            idempotency_key: a repeat with this key changes nothing and returns the first reply.

        Returns:
            The reply. It fails as `send` does, and with `NotReplied` if the handler sent no such reply: the event is
            handled.
        """
        job, name = self.definition, self._name_of("ask")
        if not isinstance(reply, Reply) or job.plan.replies.get(reply.name) is not reply.codec:  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
            declared = ", ".join(job.plan.replies) or "none"
            return refused(InvalidArgument("reply", reply, f"a declared Reply of {job!r}, which has {declared}"), name)
        sent: Call[Sent, Any] = self.send(id_, event, idempotency_key=idempotency_key)

        async def read(sent: Sent) -> Result[Any, Any]:
            address = str(job.address(id_))
            if not isinstance(sent, Replied) or reply.name not in sent.replies:
                return Failure(NotReplied(address, reply.name))
            try:
                return Success(reply.codec.open(orjson.dumps(sent.replies[reply.name])).value)
            except InvalidInput as problem:
                return Failure(Undecodable(address, problem.problems))

        return named(followed(sent, read), name)

    def send_and_wait(
        self, id_: str, event: V, /, *, idempotency_key: str, timeout: Duration = "1 minute"
    ) -> Call[Reached, EventError[E] | WaitOver]:
        """Send an event, and wait until the task has nothing more to do: it is idle or parked, or has ended.

        A wait that is over, or whose engine stopped, loses nothing: the task continues, and a repeat of this call with
        the same key waits on.

        Args:
            id_: the instance.
            event: as for `send`.
            idempotency_key: a repeat with this key sends nothing.
            timeout: how long to wait. ``"0 ms"`` to answer immediately.

        Returns:
            The committed status that ended the wait. It fails as `send` does, and with `WaitOver` when the time is
            over.
        """
        send = partial(self.send, id_, event, idempotency_key=idempotency_key)
        return self._and_wait("send", id_, send, timeout, idempotency_key)

    def trigger(
        self,
        id_: str,
        /,
        *,
        new_run: bool = False,
        wait_for: WaitFor = "completion",
        idempotency_key: str | None = None,
    ) -> Call[Triggered[E | Defect], CallError]:
        """Run ``execute`` now. A pending alarm remains, unless ``execute`` changes it.

        If a run waits for its retry, this is its next attempt, under the same ``ctx.run_id``.

        Args:
            id_: the instance.
            new_run: abandon a failed run, and run under a new ``ctx.run_id``: external systems perform its effects
                again.
            wait_for: ``completion``: return after the first attempt. ``start``: return after the claim.
            idempotency_key: a repeat with this key runs nothing and returns the first result.
        """
        options = TriggerOptions(new_run=new_run)
        answer: Call[RunAnswer, CallError] = self._send(
            id_,
            TriggerTaskCommand(options),
            "trigger",
            None if new_run is False else options,
            key=idempotency_key,
            wait_for=wait_for,
        )
        return mapped(answer, self._triggered)


@attrs.frozen
class TaskSender(Generic[V_contra]):
    """The messages that other jobs can send to a task."""

    post: PostCommand

    def send(self, event: V_contra, /) -> Program[None]:
        """Send an event with this turn's commit."""
        return self.post("send", event)

    def trigger(self, *, new_run: bool = False) -> Program[None]:
        """Run ``execute``. An absent instance stays absent. If a run waits for its retry, this is its next attempt."""
        return self.post("trigger", None if new_run is False else TriggerOptions(new_run=new_run))

    def terminate(self, reason: str = "terminated", /) -> Program[None]:
        """Terminate the instance."""
        return self.post("terminate", reason)
