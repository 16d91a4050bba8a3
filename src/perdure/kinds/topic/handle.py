"""A topic's typed handle and sender, and the program that receives its events in a workflow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Never, TypeVar

import attrs

from perdure.jobs.call import Call
from perdure.jobs.definition import CallError, PostCommand
from perdure.jobs.draft import FirstTime
from perdure.jobs.handle import JobHandle
from perdure.jobs.request import Request
from perdure.kinds.topic.entry import (
    PAGE,
    PublishEvent,
    ReadSubscribers,
    SubscribeInstance,
    SubscriberPage,
    Subscription,
    TopicPublished,
    TopicSubscribed,
    TopicUnsubscribed,
    UnsubscribeInstance,
    read_of,
)
from perdure.kinds.workflow.instructions import Signal
from perdure.programs import Do, Program, perform, program
from perdure.values.address import Address
from perdure.values.errors import InvalidArgument
from perdure.values.limits import Limits

V = TypeVar("V")
V_contra = TypeVar("V_contra", contravariant=True)


@attrs.frozen(repr=False)
class TopicHandle(JobHandle[dict[str, Subscription], Never], Generic[V]):
    """A topic's calls. ``get_state`` reads all subscriptions, ``terminate`` ends them."""

    def publish(self, id_: str, event: V, /, *, idempotency_key: str | None = None) -> Call[TopicPublished, CallError]:
        """Send an event to each instance that is subscribed now: once, and after the events before it.

        Args:
            id_: the topic. Without a subscriber, nothing is stored.
            event: of the definition's event type. Anything else fails with ``InvalidInput``.
            idempotency_key: a repeat with this key publishes nothing and returns the first result.
        """
        return self._send(id_, PublishEvent(event), "publish", event, key=idempotency_key)

    def subscribe(
        self, id_: str, subscriber: Address, /, *, idempotency_key: str | None = None
    ) -> Call[TopicSubscribed, CallError]:
        """Subscribe an instance: it receives each event that is published from now on.

        Args:
            id_: the topic.
            subscriber: the instance, such as ``orders.address("7")``. A task or a workflow must exist when an event is
                sent to it: otherwise its subscription ends.
            idempotency_key: a repeat with this key changes nothing and returns the first result.
        """
        given = SubscribeInstance(subscriber=_printed(subscriber))
        return self._send(id_, given, "subscribe", given, key=idempotency_key)

    def unsubscribe(
        self, id_: str, subscriber: Address, /, *, idempotency_key: str | None = None
    ) -> Call[TopicUnsubscribed, CallError]:
        """End a subscription: no event is sent to the instance any more, nor one that waits in the topic.

        Args:
            id_: the topic.
            subscriber: the instance.
            idempotency_key: a repeat with this key changes nothing and returns the first result.
        """
        given = UnsubscribeInstance(subscriber=_printed(subscriber))
        return self._send(id_, given, "unsubscribe", given, key=idempotency_key)

    def subscribers(self, id_: str, /, *, after: int = 0, limit: int = PAGE) -> Call[SubscriberPage, CallError]:
        """Read a page of subscribers, the earliest first.

        Args:
            id_: the topic.
            after: the previous page's ``next``. 0 for the first page.
            limit: how many at most, 1 to 1,000.
        """

        def build(limits: Limits) -> Request:
            given = read_of(ReadSubscribers(after=after, limit=limit))
            payload = self.definition.encode_input("subscribers", given, limits.payload_bytes)
            return Request(command=given, action="subscribers", payload=payload)

        return self.dispatch.request(self.definition, id_, build, self._name_of("subscribers"))


def _printed(subscriber: object) -> str:
    if isinstance(subscriber, Address):
        return str(subscriber)
    raise InvalidArgument("subscriber", subscriber, "an instance's address, such as orders.address('7')")


@attrs.frozen
class TopicSender(Generic[V_contra]):
    """The messages that other jobs can send to a topic."""

    post: PostCommand

    def publish(self, event: V_contra, /) -> Program[None]:
        """Publish an event with this turn's commit."""
        return self.post("publish", event)

    def subscribe(self) -> Program[None]:
        """Subscribe the own instance with this turn's commit. A repeat changes nothing."""
        return self.post("subscribe")

    def unsubscribe(self) -> Program[None]:
        """End the own subscription, with this turn's commit."""
        return self.post("unsubscribe")

    def terminate(self, reason: str = "terminated", /) -> Program[None]:
        """End all subscriptions."""
        return self.post("terminate", reason)


@program
def receive(
    topic: Address, subscribe: Program[None], signal: Signal[Any], where: Callable[[Any], bool] | None
) -> Do[Any]:
    """Wait for a topic's next event, and subscribe before the first wait.

    Args:
        topic: the topic.
        subscribe: the message that subscribes.
        signal: the signal that brings the events.
        where: returns whether this is the event.
    """
    # Once in each replay, and not with each wait: a subscription is a message and a row in the journal.
    if (yield from perform(FirstTime(f"{topic} subscribe"))):
        yield from subscribe
    while True:
        event = yield from signal.receive()
        if where is None or where(event):
            return event
