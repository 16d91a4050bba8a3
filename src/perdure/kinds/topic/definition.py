"""Define topics: an event that is published once is sent to each subscriber."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Literal, TypeAlias, TypeVar, cast

import attrs
from typing_extensions import TypeForm

from perdure._lazy import lazy_module
from perdure.codecs import Codec
from perdure.jobs.definition import AnyDefinition, Definition, Dispatch, PostCommand, check_definition, tell
from perdure.jobs.display import DisplayField, fields_of_plan
from perdure.jobs.hooks import FROM_HOOKS
from perdure.jobs.plan import DEFAULT_RUN_TIMEOUT, Plan, build_plan
from perdure.jobs.request import Keyword, Request
from perdure.kinds.workflow.instructions import Signal
from perdure.programs import Program, succeed
from perdure.values.address import Address, Job
from perdure.values.errors import DefinitionError

if TYPE_CHECKING:
    from perdure.jobs.step import Commit, Execute, Step
    from perdure.kinds.topic import entry, handle, handler
    from perdure.kinds.topic.handle import TopicHandle, TopicSender
    from perdure.values.instance import Claim, Instance
    from perdure.values.limits import KeepHistory
    from perdure.values.secret import Hide
    from perdure.values.turn_inputs import TurnInputs
else:  # deciding turns and calling jobs need more modules than defining jobs
    entry = lazy_module("perdure.kinds.topic.entry")
    handle = lazy_module("perdure.kinds.topic.handle")
    handler = lazy_module("perdure.kinds.topic.handler")

V = TypeVar("V")

Subscribers: TypeAlias = Sequence[AnyDefinition] | Callable[[], Sequence[AnyDefinition]]
"""The jobs whose instances may subscribe, or a function that returns them when the topic is first used."""

DEFAULT_SUBSCRIBERS: Final = 1_000
MOST_SUBSCRIBERS: Final = 10_000
"""The largest ``max_subscribers``: each subscription writes all of them."""

DEFAULT_WAITING: Final = 100
MOST_WAITING: Final = 10_000
"""The largest ``max_waiting``."""


@attrs.frozen(init=False, eq=False, repr=False)
class Topic(Definition["TopicHandle[V]", "TopicSender[V]", object], Generic[V]):
    """A topic: each event that you publish is sent once, and in order, to each instance that has subscribed.

    Each id is a topic of its own, such as one for each customer, with its own subscribers and its own order.

    Args:
        name: the job's name, part of the stored address: 1 to 128 printable characters, no ``:``.
        event: the events' type.
        subscribers: the jobs whose instances may subscribe: tasks and debounces whose event type includes this one,
            workflows with the topic's `signal`, and other topics. A function that returns them if they are defined
            later.
        max_subscribers: how many subscribers one id has at most, 1 to 10,000. Beyond: `Overloaded`.
        max_waiting: how many published events wait in one id until they are sent, 1 to 10,000. Beyond: `Overloaded`.
        tags: stable names for the event union's members.
        history: keeps this job's events longer than the log does: `KeepHistory`. By default the log alone keeps them.

    Raises:
        DefinitionError: an argument is invalid. The message says how to fix it.
    """

    kind: ClassVar[str] = "topic"
    name: str
    event_type: Any  # a type form
    max_subscribers: int
    max_waiting: int
    _tags: Mapping[type, str] | None
    _history: KeepHistory | None
    _given: Subscribers
    _built: list[tuple[Plan, entry.TopicRules]]  # one, as soon as the jobs are known: they may be defined later

    def __init__(
        self,
        name: str,
        *,
        event: TypeForm[V],
        subscribers: Subscribers,
        max_subscribers: int = DEFAULT_SUBSCRIBERS,
        max_waiting: int = DEFAULT_WAITING,
        tags: Mapping[type, str] | None = None,
        history: KeepHistory | None = None,
    ) -> None:
        most = _whole(max_subscribers, MOST_SUBSCRIBERS, f"max_subscribers of topic:{name}")
        waiting = _whole(max_waiting, MOST_WAITING, f"max_waiting of topic:{name}")
        cast("Any", self).__attrs_init__(name, event, most, waiting, tags, history, subscribers, [])
        if callable(subscribers):
            self._plan({})  # a wrong name or type fails here, and not where the topic is first used
        else:
            self._resolve(subscribers)

    @property
    def plan(self) -> Plan:  # type: ignore[override] # pyright: ignore[reportIncompatibleVariableOverride] - built late
        """The parts that every definition has."""
        return self._parts[0]

    @property
    def deliveries(self) -> Mapping[Job, entry.TopicDelivery]:
        """How each job takes the events, by kind and name."""
        return self._rules.deliveries

    @property
    def _rules(self) -> entry.TopicRules:
        return self._parts[1]

    @property
    def _parts(self) -> tuple[Plan, entry.TopicRules]:
        if not self._built:
            self._resolve(cast("Callable[[], object]", self._given)())
        return self._built[0]

    @property
    def signal(self) -> Signal[V]:
        """The signal with which workflows receive the events: ``Workflow(..., signals=(prices.signal,))``."""
        return Signal(self.name, self.event_type, by_key=True)

    def _resolve(self, jobs: object) -> None:
        given = cast("Sequence[object]", jobs)
        if not isinstance(jobs, Sequence) or not given:
            raise DefinitionError(f"subscribers of topic:{self.name}", given, "at least one definition, in a tuple")
        listed = [check_definition(one) for one in given]
        self._refuse_a_circle(listed)
        found = {(job.kind, job.name): entry.delivery_of(self.name, self.event_type, job) for job in listed}
        plan = self._plan(found)
        rules = entry.TopicRules(
            name=self.name,
            event=cast("Codec[Any]", plan.commands["publish"].input),
            deliveries=found,
            max_subscribers=self.max_subscribers,
            max_waiting=self.max_waiting,
        )
        self._built.append((plan, rules))

    def listed(self) -> Sequence[object]:
        """Return the jobs whose instances may subscribe, as the definition was given them."""
        given = self._given
        return given() if callable(given) else given

    def _refuse_a_circle(self, jobs: Sequence[object]) -> None:
        """Refuse topics that would send each event to each other without end."""
        waiting, seen = list(jobs), set[int]()
        while waiting:
            job = waiting.pop()
            if job is self:
                expected = "topics that do not send back to this one"
                raise DefinitionError(f"subscribers of topic:{self.name}", f"topic:{self.name}", expected)
            if isinstance(job, Topic) and id(job) not in seen:  # pyright: ignore[reportUnknownArgumentType] - any event
                seen.add(id(job))  # pyright: ignore[reportUnknownArgumentType] - of any event
                waiting += job.listed()

    def _plan(self, deliveries: Mapping[Job, entry.TopicDelivery]) -> Plan:
        names: Any = Literal[tuple(sorted(f"{kind}:{name}" for kind, name in deliveries)) or ("",)]
        return build_plan(
            "topic",
            self.name,
            state=dict[str, entry.Subscription],
            tags=None,
            errors=FROM_HOOKS,
            hooks={},
            retry=None,
            run_timeout=DEFAULT_RUN_TIMEOUT,
            runs=None,
            commands=entry.commands_of_topic(self.event_type, self._tags, self.name, tuple(deliveries)),
            answers=entry.ANSWERS,
            # This code writes their inputs: after a deploy that changed one, a topic is tried again.
            kept=(
                entry.DATA,
                Codec.of(names, what=f"subscribers of topic:{self.name}"),
                *(delivery.input for delivery in deliveries.values()),
            ),
            history=self._history,
        )

    # ------------------------------------------------------------ the pure handler
    def begin(self, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs) -> Step:
        """Decide a command or an alarm."""
        return handler.begin(self._rules, address, instance, request, inputs)

    def begin_unread(self, address: Address, instance: Instance, request: Request, inputs: TurnInputs) -> Step | None:
        """Let ``unsubscribe`` remove a subscriber that this code cannot send to."""
        if request.action != "unsubscribe":
            return None
        return handler.begin(self._rules, address, instance, request, inputs)

    def program(self, instance: Instance, claim: Claim, command: object) -> tuple[str, Program[Any, Any, Any]]:
        """Return nothing to run: a topic has no runs."""
        return "send", succeed(None)

    def succeeded(self, execute: Execute, value: object, inputs: TurnInputs) -> Commit | Execute:
        """Refuse: a topic has no runs."""
        raise TypeError(f"{self!r} has no runs")

    def may_rest(self, instance: Instance) -> bool:
        """Return whether no event waits: otherwise an alarm sends it."""
        return not handler.data_of(instance).waiting

    def check_data(self, instance: Instance) -> None:
        """Decode the data, and check that this code can send to each subscriber."""
        handler.check_data(self._rules, instance)

    def redacted_data(self, instance: Instance, hide: Hide) -> Instance:
        """Replace the secrets in waiting events."""
        return handler.redacted_data(self._rules, instance, hide)

    # ------------------------------------------------------------ reading
    def display_fields(self) -> tuple[DisplayField, ...]:
        """Return the jobs that may subscribe, the limits, and every job's fields."""
        return (
            DisplayField("sends to", ", ".join(sorted(f"{kind}:{name}" for kind, name in self.deliveries))),
            DisplayField("subscribers at most", f"{self.max_subscribers:,}"),
            DisplayField("waiting events at most", f"{self.max_waiting:,}"),
            *fields_of_plan(self.plan),
        )

    def display_fields_of(self, instance: Instance) -> tuple[DisplayField, ...]:
        """Return the number of subscribers and waiting events, and the first subscribers."""
        return handler.display_fields_of(instance)

    def handle_call(self, request: Request) -> tuple[str, tuple[object, ...]]:
        """Return the handle method that makes a request, and its arguments."""
        method, arguments = super().handle_call(request)
        if request.action in {"subscribe", "unsubscribe"}:
            given = {each.name: each.value for each in cast("tuple[Keyword, ...]", arguments)}
            return method, (Address.parse(cast("str", given["subscriber"])),)
        return method, arguments

    # ------------------------------------------------------------ typed access
    def receive(self, id_: str, /, *, where: Callable[[V], bool] | None = None) -> Program[V]:
        """Wait in a workflow for the next event of a topic, as long as it takes. The first call subscribes.

        Events that arrive between two calls wait, as signals do, and each is received once. Those for which ``where``
        returns False are dropped. With ``.timeout("1 day")`` the wait has a limit.

        Args:
            id_: the topic.
            where: returns whether this is the event. It must be pure: a replay calls it again.

        Raises:
            InvalidId: the id is invalid.
        """
        message = tell(cast("Definition[Any, TopicSender[V], object]", self), id_).subscribe()
        return handle.receive(self.address(id_), message, self.signal.for_key(id_), where)

    def handle(self, dispatch: Dispatch) -> TopicHandle[V]:
        """Return the typed handle."""
        return handle.TopicHandle(self, dispatch)

    def sender(self, post: PostCommand) -> TopicSender[V]:
        """Return the typed sender."""
        return handle.TopicSender(post)


AnyTopic: TypeAlias = Topic[Any]


def _whole(value: object, most: int, what: str) -> int:
    if type(value) is int and 1 <= value <= most:
        return value
    raise DefinitionError(what, value, f"a whole number from 1 to {most:,}")
