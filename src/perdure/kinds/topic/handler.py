"""The pure handler for topics: subscriptions, and the messages that carry an event to each subscriber.

No user code runs here. A commit holds as many messages as a turn may send: an alarm sends the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, assert_never, cast

import attrs
import orjson

from perdure.codecs.codec import RowCodec
from perdure.jobs.display import DisplayField
from perdure.jobs.messages import subscribed_action
from perdure.jobs.request import AlarmDue, Request, too_large
from perdure.jobs.step import Commit, Step
from perdure.jobs.transitions import EventRecorder, answered, put, refuse, reply, stored
from perdure.kinds.topic.entry import (
    DATA,
    PublishEvent,
    ReadSubscribers,
    SubscribeInstance,
    SubscriberPage,
    TopicData,
    TopicDelivery,
    TopicPublished,
    TopicRules,
    TopicSubscribed,
    TopicUnsubscribed,
    UnsubscribeInstance,
    WaitingEvent,
)
from perdure.kinds.workflow.instructions import KeyedValue
from perdure.values.address import Address, Job
from perdure.values.errors import InvalidId, InvalidInput, Overloaded
from perdure.values.event import Event, JobNoted, JobStarted
from perdure.values.instance import Instance
from perdure.values.message import Message
from perdure.values.turn_inputs import TurnInputs

if TYPE_CHECKING:
    from perdure.values.secret import Hide

TopicCommand: TypeAlias = PublishEvent | SubscribeInstance | UnsubscribeInstance | ReadSubscribers | AlarmDue

_Payloads: TypeAlias = dict[Job, tuple[TopicDelivery, str]]

Numbers: TypeAlias = dict[str, int]
"""A stored subscription's members."""

# An event for thousands of subscribers would be one commit of gigabytes: the alarm sends the rest.
SENT_BYTES: Final = 4_194_304
"""One commit's bytes, unless a single event is larger."""

SHOWN: Final = 5
"""The subscribers that tools show."""

# Shared by all topics of the process, and bounded: a state of 10,000 subscribers has megabytes.
_RECENT: Final[deque[tuple[str, Mapping[str, Numbers]]]] = deque(maxlen=8)
"""The states that were read or written last. Subscriptions that arrive together read each."""

_DATA: RowCodec[TopicData] = RowCodec(DATA)


def data_of(instance: Instance) -> TopicData:
    """Decode a topic's stored data.

    Raises:
        InvalidInput: this code cannot decode it.
    """
    return _DATA.read(instance.data) if instance.data else TopicData()


def subscriptions_in(state: str) -> Mapping[str, Numbers]:
    """Read a topic's state: members that only newer code knows stay in it.

    Raises:
        InvalidInput: it is not a topic's state.
    """
    # By identity: to hash a state of 10,000 subscribers takes a tenth of the time that reading it takes.
    for text, known in tuple(_RECENT):
        if text is state:
            return known
    try:
        found: object = orjson.loads(state or "{}")
    except orjson.JSONDecodeError as wrong:
        raise InvalidInput("state of a topic", (str(wrong),)) from wrong
    if not isinstance(found, dict):
        raise InvalidInput("state of a topic", ("expected an object",))
    subscriptions = cast("Mapping[str, Numbers]", found)
    _RECENT.append((state, subscriptions))
    return subscriptions


def _with_subscription(state: str, found: Mapping[str, Numbers], subscriber: str, numbers: Numbers) -> str:
    """Return the state with a subscription."""
    after = {**found, subscriber: numbers}
    if subscriber in found or not found:
        written = orjson.dumps(after).decode()
    else:  # added to the text: writing all of it for each of many subscriptions would block the loop for seconds
        member = orjson.dumps({subscriber: numbers}).decode()
        written = f"{state[:-1]},{member[1:]}"
    _RECENT.append((written, after))
    return written


def begin(rules: TopicRules, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs) -> Step:
    """Decide a topic's command or alarm.

    Raises:
        InvalidInput: this code cannot read the topic, or cannot send to one of its subscribers.
    """
    command = cast("TopicCommand", request.command)
    match command:
        case PublishEvent():
            return _publish(rules, address, instance, request, inputs)
        case SubscribeInstance():
            return _subscribe(rules, address, instance, command, request, inputs)
        case UnsubscribeInstance():
            return _unsubscribe(address, instance, command, request, inputs)
        case ReadSubscribers():
            return reply(address, _page(instance, command))
        case AlarmDue():
            return reply(address, None) if instance is None else _alarm(rules, instance, inputs)
        case _:
            assert_never(command)


# ---------------------------------------------------------------- events
def _publish(
    rules: TopicRules, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs
) -> Commit:
    found = subscriptions_in("" if instance is None else instance.state)
    # Without a subscriber nothing is stored: an event is for those that were subscribed when it was published.
    if instance is None or not found:
        return reply(address, TopicPublished(subscribers=0, status=None if instance is None else instance.status))
    data = data_of(instance)
    # The newest subscription at this moment: later ones do not get the event, whenever the alarm sends it.
    event = WaitingEvent(payload=request.payload, last=data.last)
    sent = _Sent(attrs.evolve(data, waiting=(*data.waiting, event)))
    # A paused or held topic stores the event. The release fires its alarm, which sends it.
    if instance.suspension is None and inputs.hold == "released":
        sent = sent.send(rules, instance, found, inputs)
    # After the sends: an event that fits into this commit does not wait, and takes no place among those that do.
    refused = _full(rules, address, sent.data, inputs)
    if refused is not None:
        return refuse(address, refused)
    transition = _put_sent(instance, sent, inputs, event_count=instance.event_count + 1)
    after = stored(transition)
    status = None if after is None else after.status
    waiting = len(sent.data.waiting)
    return answered(transition, TopicPublished(subscribers=len(found), waiting=waiting, status=status))


def _full(rules: TopicRules, address: Address, data: TopicData, inputs: TurnInputs) -> Overloaded | None:
    """Return why too many events wait. None if they do not."""
    if len(data.waiting) > rules.max_waiting:
        return Overloaded(f"queue of events of {address}", rules.max_waiting)
    # Each published event writes all that wait.
    if len(data.waiting) > 1 and sum(len(event.payload) for event in data.waiting) > inputs.limits.state_bytes:
        return Overloaded(f"queue of events of {address}, in bytes", inputs.limits.state_bytes)
    return None


def _alarm(rules: TopicRules, instance: Instance, inputs: TurnInputs) -> Commit:
    sent = _Sent(data_of(instance)).send(rules, instance, subscriptions_in(instance.state), inputs)
    return answered(_put_sent(instance, sent, inputs), None)


def _put_sent(instance: Instance, sent: _Sent, inputs: TurnInputs, **changes: Any) -> Any:
    data = _DATA.write(sent.data)
    # Only a changed column is written.
    if data != instance.data:
        changes["data"] = data
    return put(
        instance,
        inputs.now_ms,
        messages=sent.messages,
        events=sent.events(instance, inputs),
        alarm_ms=inputs.now_ms if sent.data.waiting else None,
        **changes,
    )


@attrs.frozen
class _Sent:
    """One turn's messages.

    Attributes:
        data: the topic's data after it.
    """

    data: TopicData
    messages: tuple[Message, ...] = ()

    def send(
        self, rules: TopicRules, instance: Instance, subscriptions: Mapping[str, Numbers], inputs: TurnInputs
    ) -> _Sent:
        """Send waiting events, the oldest first, as far as one commit holds the messages.

        Raises:
            InvalidInput: this code cannot send to one of the subscribers.
        """
        data, messages, room, left = self.data, list(self.messages), max(1, inputs.limits.messages_per_turn), SENT_BYTES
        while data.waiting and room > 0 and (left > 0 or not messages):
            event = data.waiting[0]
            # In the order of subscriptions, which is that of the state: `sent` says how far it came, also over commits.
            open_ = [(text, one) for text, one in subscriptions.items() if data.sent < one["since"] <= event.last]
            # At least one: an event larger than the bound must be sent as well.
            most = min(room, max(1, left // max(1, len(event.payload))))
            chunk = [(Address.parse(text), one) for text, one in open_[:most]]
            payloads = _payloads(rules, instance.address.id, event, (target for target, _ in chunk))
            messages += (self._message(instance, target, one, payloads, inputs) for target, one in chunk)
            room, left = room - len(chunk), left - len(chunk) * len(event.payload)
            if len(chunk) < len(open_):
                # The next commit continues behind the last one. Nothing newer overtakes: later events wait behind this
                # one.
                return _Sent(attrs.evolve(data, sent=chunk[-1][1]["since"]), tuple(messages))
            data = attrs.evolve(data, sent=0, waiting=data.waiting[1:])
        return _Sent(data, tuple(messages))

    @staticmethod
    def _message(instance: Instance, target: Address, one: Numbers, payloads: _Payloads, inputs: TurnInputs) -> Message:
        delivery, payload = payloads[target.kind, target.name]
        action = delivery.action
        # An event must not create such an instance: the action carries the subscription, and an absent subscriber ends
        # it.
        if delivery.of == "existing":
            action = subscribed_action(one["renewed"], action)
        return Message(sender=instance.address, target=target, action=action, payload=payload, sent_ms=inputs.now_ms)

    def events(self, instance: Instance, inputs: TurnInputs) -> tuple[Event, ...]:
        """Return the history's event. None if nothing is sent."""
        if not self.messages:
            return ()
        log = EventRecorder(inputs, instance.address, instance.run_count)
        data = orjson.dumps({"messages": len(self.messages), "waiting": len(self.data.waiting)}).decode()
        return log.optional(JobNoted, name="topic.sent", data=data)


def _payloads(rules: TopicRules, id_: str, event: WaitingEvent, targets: Iterable[Address]) -> _Payloads:
    """Encode an event for each subscriber's job, once for each.

    Raises:
        InvalidInput: this code cannot read the event, or cannot send to one of the subscribers.
    """
    value, made = rules.event.decode(event.payload.encode()), cast("_Payloads", {})
    for target in targets:
        # Once for each job: 10,000 subscribers are most often of one job.
        if (target.kind, target.name) not in made:
            delivery = delivery_to(rules, target)
            given = KeyedValue(key=id_, value=value) if delivery.by_key else value
            made[target.kind, target.name] = delivery, delivery.input.encode(given).decode()
    return made


def delivery_to(rules: TopicRules, target: Address) -> TopicDelivery:
    """Return how a subscriber takes the events.

    Raises:
        InvalidInput: this code does not list its job.
    """
    found = rules.deliveries.get((target.kind, target.name))
    if found is not None:
        return found
    known = ", ".join(sorted(f"{kind}:{name}" for kind, name in rules.deliveries))
    problem = f"expected an instance of {known}, which the definition lists; got {target}"
    raise InvalidInput(f"subscriber of topic:{rules.name}", (problem,))


# ---------------------------------------------------------------- subscriptions
def _named(given: str | None, request: Request, job: str) -> Address:
    """Return the subscriber that a request names: by default its sender.

    Raises:
        InvalidInput: it names none.
    """
    if given is None:
        if request.inbound is not None:
            return request.inbound.sender
        raise InvalidInput(f"subscriber of topic:{job}", ("expected an instance, printed kind:name:id, got none",))
    try:
        return Address.parse(given)
    except InvalidId as wrong:
        raise InvalidInput(f"subscriber of topic:{job}", (str(wrong),)) from wrong


def _subscribe(
    rules: TopicRules,
    address: Address,
    instance: Instance | None,
    command: SubscribeInstance,
    request: Request,
    inputs: TurnInputs,
) -> Commit:
    try:
        subscriber = _named(command.subscriber, request, rules.name)
        delivery_to(rules, subscriber)
    except InvalidInput as problem:
        return refuse(address, problem)
    before = instance or Instance(address=address, created_ms=inputs.now_ms, updated_ms=inputs.now_ms)
    found, data = subscriptions_in(before.state), data_of(before)
    # Never a number of an earlier life of the topic: a late notice that a subscriber is gone names its subscription.
    number = max(data.last + 1, inputs.now_ms)
    known = found.get(str(subscriber))
    if known is None and len(found) >= rules.max_subscribers:
        return refuse(address, Overloaded(f"subscribers of {address}", rules.max_subscribers))
    # A repeated subscription keeps its place: events that wait for it are still sent to it.
    since = number if known is None else known["since"]
    numbers = {**(known or {}), "since": since, "renewed": number}
    state = _with_subscription(before.state, found, str(subscriber), numbers)
    # Each subscription writes the whole state.
    refused = too_large(state, inputs.limits.state_bytes, what=f"state of topic:{rules.name}")
    if refused is not None:
        return refuse(address, refused)
    events = () if instance is not None else EventRecorder(inputs, address, 0).optional(JobStarted)
    transition = put(
        before, inputs.now_ms, events=events, state=state, data=_DATA.write(attrs.evolve(data, last=number))
    )
    row = stored(transition)
    status = None if row is None else row.status
    return answered(
        transition, TopicSubscribed(created=known is None, subscribers=len(found) + (known is None), status=status)
    )


def _unsubscribe(
    address: Address, instance: Instance | None, command: UnsubscribeInstance, request: Request, inputs: TurnInputs
) -> Commit:
    try:
        subscriber = str(_named(command.subscriber, request, address.name))
    except InvalidInput as problem:
        return refuse(address, problem)
    if instance is None:
        return reply(address, TopicUnsubscribed(removed=False))
    found = subscriptions_in(instance.state)
    known = found.get(subscriber)
    # A notice about a subscription that was made again since: its subscriber exists again.
    if known is None or command.renewed not in (None, known["renewed"]):
        return reply(address, TopicUnsubscribed(removed=False, subscribers=len(found), status=instance.status))
    after = {text: one for text, one in found.items() if text != subscriber}
    log = EventRecorder(inputs, address, instance.run_count)
    noted = log.optional(JobNoted, name="topic.unsubscribed", data=orjson.dumps({"subscriber": subscriber}).decode())
    transition = put(instance, inputs.now_ms, events=noted, state=orjson.dumps(after).decode())
    return answered(transition, TopicUnsubscribed(removed=True, subscribers=len(after), status=instance.status))


def _page(instance: Instance | None, command: ReadSubscribers) -> SubscriberPage:
    if instance is None:
        return SubscriberPage()
    found = subscriptions_in(instance.state)
    later = [(text, one["since"]) for text, one in found.items() if one["since"] > command.after]
    page = later[: command.limit]
    following = page[-1][1] if len(page) < len(later) else None
    return SubscriberPage(subscribers=tuple(text for text, _ in page), next=following, total=len(found))


# ---------------------------------------------------------------- checks, and reports
def check_data(rules: TopicRules, instance: Instance) -> None:
    """Decode a topic's data, and check that this code can send to each subscriber.

    Raises:
        InvalidInput: it cannot.
    """
    targets = tuple(map(Address.parse, subscriptions_in(instance.state)))
    # A subscriber whose job this code does not list would stop the alarm in the middle: such a topic is left to code
    # that can send to all.
    for target in targets:
        delivery_to(rules, target)
    for event in data_of(instance).waiting:
        _payloads(rules, instance.address.id, event, targets)


def redacted_data(rules: TopicRules, instance: Instance, hide: Hide) -> Instance:
    """Replace the secrets in waiting events.

    Raises:
        InvalidInput: this code cannot decode them.
    """
    data, codec = data_of(instance), rules.event
    if not data.waiting or not codec.secret:
        return instance
    hidden = (
        attrs.evolve(event, payload=codec.redact(event.payload.encode(), hide=hide).decode()) for event in data.waiting
    )
    return instance.changed(data=_DATA.write(attrs.evolve(data, waiting=tuple(hidden))))


def display_fields_of(instance: Instance) -> tuple[DisplayField, ...]:
    """Return the number of subscribers and of waiting events, and the first subscribers."""
    found = subscriptions_in(instance.state)
    shown = ", ".join(list(found)[:SHOWN]) + (", …" if len(found) > SHOWN else "")
    waiting = len(data_of(instance).waiting)
    return (
        DisplayField("subscribers", f"{len(found):,}"),
        *((DisplayField("first subscribers", shown),) if found else ()),
        DisplayField("events that wait", f"{waiting:,}"),
    )
