"""A topic's subscriptions, its commands and their answers, and how jobs take its events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

import attrs
from typing_extensions import TypeForm

from perdure.codecs import Codec
from perdure.codecs.grammar import flattened
from perdure.codecs.migrations import is_same_form
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import CommandSpec
from perdure.kinds.workflow.instructions import KeyedValue
from perdure.values.address import Job
from perdure.values.answer import PauseResult, Terminated
from perdure.values.errors import DefinitionError, InvalidInput
from perdure.values.excerpt import fields_in_line, size_only
from perdure.values.frozen import frozen
from perdure.values.status import Status

PAGE: Final = 100
MOST_ON_PAGE: Final = 1_000


# ---------------------------------------------------------------- stored
@frozen(kw_only=True)
class Subscription:
    """One subscriber of a topic, in its state.

    Attributes:
        since: orders the subscriptions. Earlier events are not sent.
        renewed: the last time that it was made. A late notice that the subscriber is gone has an earlier one.
    """

    since: int
    renewed: int


@frozen(kw_only=True)
class WaitingEvent:
    """A published event that some subscribers still have to get.

    Attributes:
        payload: the event as JSON.
        last: the newest subscription when it was published.
    """

    __repr__ = fields_in_line

    payload: str = attrs.field(repr=size_only)
    last: int


@frozen(kw_only=True)
class TopicData:
    """A topic's stored data.

    Attributes:
        sent: the first waiting event is sent to the subscriptions up to this one.
        waiting: the events that wait, the oldest first.
    """

    __repr__ = fields_in_line

    last: int = 0
    sent: int = 0
    waiting: tuple[WaitingEvent, ...] = ()


DATA: Codec[TopicData] = Codec.of(TopicData, what="data of a topic")


# ---------------------------------------------------------------- commands
@frozen
class PublishEvent:
    """Send an event to each subscriber."""

    __repr__ = fields_in_line

    event: Any  # of the definition's own type


@frozen(kw_only=True)
class SubscribeInstance:
    """The ``subscribe`` input.

    Attributes:
        subscriber: the instance, printed ``kind:name:id``. None: the instance that sends the message.
    """

    __repr__ = fields_in_line

    subscriber: str | None = None


@frozen(kw_only=True)
class UnsubscribeInstance:
    """The ``unsubscribe`` input.

    Attributes:
        subscriber: the instance, printed ``kind:name:id``. None: the instance that sends the message.
        renewed: the only subscription that ends. None: the instance's subscription, whichever it is.
    """

    __repr__ = fields_in_line

    subscriber: str | None = None
    renewed: int | None = None


@frozen(kw_only=True)
class ReadSubscribers:
    """The ``subscribers`` input.

    Attributes:
        after: the previous page's ``next``. 0 for the first page.
        limit: how many subscribers a page has at most, 1 to 1,000.
    """

    after: int = 0
    limit: int = PAGE


@frozen(kw_only=True)
class TopicPublished:
    """The ``publish`` result.

    Attributes:
        subscribers: how many subscribers the event is for.
        waiting: the events that some subscribers still have to get.
        status: the topic's status. None if it has no subscriber and stores nothing.
    """

    subscribers: int
    waiting: int = 0
    status: Status | None = None


@frozen(kw_only=True)
class TopicSubscribed:
    """The ``subscribe`` result.

    Attributes:
        created: whether it made the subscription. False: the instance was subscribed already, and stays so.
        subscribers: how many the topic has.
        status: the topic's status.
    """

    created: bool
    subscribers: int
    status: Status | None


@frozen(kw_only=True)
class TopicUnsubscribed:
    """The ``unsubscribe`` result.

    Attributes:
        removed: whether there was a subscription.
        subscribers: how many the topic has left.
        status: the topic's status. None if there is no topic.
    """

    removed: bool
    subscribers: int = 0
    status: Status | None = None


@frozen(kw_only=True)
class SubscriberPage:
    """The ``subscribers`` result. The earliest subscription comes first.

    Attributes:
        subscribers: the instances, printed ``kind:name:id``.
        next: pass it as ``after`` for the next page. None: this is the last one.
        total: how many subscribers the topic has.
    """

    __repr__ = fields_in_line

    subscribers: tuple[str, ...] = ()
    next: int | None = None
    total: int = 0


TopicAnswer: TypeAlias = (
    TopicPublished | TopicSubscribed | TopicUnsubscribed | SubscriberPage | Terminated | PauseResult
)
ANSWERS: Codec[Any] = Codec.of(TopicAnswer, what="answers of a topic")


def commands_of_topic(
    event: TypeForm[Any], tags: Mapping[type, str] | None, name: str, jobs: tuple[Job, ...]
) -> tuple[CommandSpec[Any], ...]:
    """Return a definition's commands.

    Args:
        event: the events' type.
        tags: stable names for the event union's members.
        name: the definition's name.
        jobs: those whose instances may subscribe.
    """

    def codec(form: Any, what: str) -> Codec[Any]:
        return Codec.of(form, what=f"{what} of topic:{name}")

    samples = (("subscriber", tuple(f"{kind}:{job}:{id_}" for kind, job in jobs for id_ in "ab") or (None,)),)
    return (
        CommandSpec(
            name="publish",
            command=PublishEvent,
            input=Codec.of(event, what=f"event of topic:{name}", tags=tags, ignores_other_tags=True),
            answer=TopicPublished,
        ),
        CommandSpec(
            name="subscribe",
            command=_subscribe,
            input=codec(SubscribeInstance, "subscription"),
            absent="creates",
            answer=TopicSubscribed,
            repeat="changes_nothing",
            takes="options",
            samples=samples,
        ),
        CommandSpec(
            name="unsubscribe",
            command=_unsubscribe,
            input=codec(UnsubscribeInstance, "subscription"),
            answer=TopicUnsubscribed,
            repeat="changes_nothing",
            takes="options",
            samples=(*samples, ("renewed", (None,))),
        ),
        CommandSpec(
            name="subscribers",
            command=read_of,
            input=codec(ReadSubscribers, "page"),
            answer=SubscriberPage,
            repeat="reads",
            takes="options",
            samples=(("after", (0,)), ("limit", (1, PAGE))),
        ),
    )


def _subscribe(given: SubscribeInstance | None = None) -> SubscribeInstance:
    return given or SubscribeInstance()


def _unsubscribe(given: UnsubscribeInstance | None = None) -> UnsubscribeInstance:
    return given or UnsubscribeInstance()


def read_of(wanted: ReadSubscribers | None = None) -> ReadSubscribers:
    """Check the ``subscribers`` input.

    Raises:
        InvalidInput: a number is not in its range.
    """
    given = wanted or ReadSubscribers()
    if given.after < 0 or not 1 <= given.limit <= MOST_ON_PAGE:
        problem = f"expected after from 0 and limit from 1 to {MOST_ON_PAGE:,}, got {given.after} and {given.limit}"
        raise InvalidInput("page of subscribers", (problem,))
    return given


# ---------------------------------------------------------------- the jobs that subscribe
@attrs.frozen
class TopicDelivery:
    """How a job takes a topic's events.

    Attributes:
        of: whether only instances that exist take it, or the command creates others.
        by_key: whether it takes the event with the topic's id.
    """

    __repr__ = fields_in_line

    action: str
    input: Codec[Any]
    of: Literal["existing", "any"]
    by_key: bool = False


_ACTIONS: Final[Mapping[str, Literal["existing", "any"]]] = {"send": "existing", "add": "any", "publish": "any"}


def delivery_of(topic: str, event: object, job: AnyDefinition) -> TopicDelivery:
    """Return how a job takes the events.

    Raises:
        DefinitionError: it does not.
    """
    name, commands = f"{job.kind}:{job.name}", job.plan.commands
    if job.kind == "workflow":
        spec = commands.get(f"signal.{topic}")
        form: Any = KeyedValue
        # The same type, and not a wider one: the signal's stored form is that of the topic.
        if spec is None or spec.input is None or not is_same_form(spec.input.form, form[event]):
            expected = f"a workflow with the topic's signal: Workflow(..., signals=({topic}.signal,))"
            raise DefinitionError(f"subscribers of topic:{topic}", name, expected)
        return TopicDelivery(spec.name, spec.input, "existing", by_key=True)
    action = next((action for action in _ACTIONS if action in commands), None)
    codec = None if action is None else commands[action].input
    if action is None or codec is None:
        expected = "jobs that take events: tasks, debounces, workflows and other topics"
        raise DefinitionError(f"subscribers of topic:{topic}", name, expected)
    # A wider type is fine: the event is encoded as the subscriber's own type writes it, with its tag.
    if not set(flattened(event)) <= set(flattened(codec.form)):
        expected = f"jobs whose event type includes the topic's, which {name} does not: it takes {codec.type_name}"
        raise DefinitionError(f"subscribers of topic:{topic}", name, expected)
    return TopicDelivery(action, codec, _ACTIONS[action])


@attrs.frozen(kw_only=True)
class TopicRules:
    """A definition's parts that decide its turns.

    Attributes:
        deliveries: how each job takes the events, by kind and name.
        max_subscribers: how many subscribers one topic has at most.
        max_waiting: how many events wait in it at most.
    """

    __repr__ = fields_in_line

    name: str
    event: Codec[Any]
    deliveries: Mapping[Job, TopicDelivery]
    max_subscribers: int
    max_waiting: int
