"""Histories for the model: steps as data, which Hypothesis draws, and the search for a history that a store fails.

Both stores execute the steps. A history that fails is shrunk, within a bound. The cases and the histories are made from
the same small values.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Literal, TypeAlias

import attrs
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from perdure.stores.contract import Store, commit_one
from perdure.stores.values import Query
from perdure.testing.conformance.assertions import RequirementViolated, value
from perdure.values.address import Address
from perdure.values.event import JobStarted
from perdure.values.instance import Claim, Fence, Instance, Left, PendingRetry
from perdure.values.message import Consumed, Message, MessageFate
from perdure.values.status import FailureRecord
from perdure.values.transition import JournalChange, NewKeys, Put, Remembered, Transition

ERROR = FailureRecord(form="failure", error_type="SinkFull", message="no röom", data='{"left":0}')
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CLAIM = Claim(
    owner=1, cause="trigger", run_id="run-1", claimed_ms=7, action="trigger", payload="{}", key="k", trace=TRACE
)
PENDING_RETRY = PendingRetry(
    run_id="run-1", cause="alarm", attempt=2, first_failed_ms=5, at_ms=90, error=ERROR, trace=TRACE
)
LEFT = Left(codes=("b", "a"), since_ms=3, error=ERROR)
FAR_MS = 4_000_000_000_000
"""An instant after all those in the cases."""


def address(id_: str = "1", *, kind: str = "task", name: str = "orders") -> Address:
    """Make an address."""
    return Address(kind, name, id_)


def instance(
    at: Address,
    *,
    state: str = '{"n":1}',
    alarm_ms: int | None = None,
    claim: Claim | None = None,
    version: int = 1,
) -> Instance:
    """Make an instance as a turn would hand it over."""
    return Instance(
        address=at, created_ms=1, updated_ms=2, state=state, alarm_ms=alarm_ms, claim=claim, version=version
    )


def put(at: Address, expected: Fence | None = None, *, alarm_ms: int | None = None, state: str = "{}") -> Transition:
    """Make a transition that writes an instance."""
    version = 1 if expected is None else expected.version + 1
    return Transition(
        address=at, expected=expected, write=Put(instance(at, alarm_ms=alarm_ms, state=state, version=version))
    )


def message(sender: Address, target: Address, payload: str = "{}") -> Message:
    """Make a message."""
    return Message(sender=sender, target=target, action="send", payload=payload, sent_ms=3, trace=TRACE)


def remembered(key: str, answer: str = "{}", *, expires_ms: int = 100) -> Remembered:
    """Make a key with its answer."""
    return Remembered(key=key, action="send", fingerprint="f", answer=answer, expires_ms=expires_ms)


def started(at: Address, *, at_ms: int = 1, id_: str = "e") -> JobStarted:
    """Make an event."""
    return JobStarted(event_id=id_, at_ms=at_ms, address=str(at))


async def created(store: Store, at: Address, *, alarm_ms: int | None = None) -> Fence:
    """Store an instance."""
    return await value(commit_one(store, put(at, alarm_ms=alarm_ms)))


async def told(store: Store, sender: Address, target: Address, *payloads: str) -> None:
    """Send messages, in one transition each."""
    for payload in payloads:
        await value(commit_one(store, Transition(address=sender, messages=(message(sender, target, payload),))))


async def deliverable(store: Store, now_ms: int = FAR_MS) -> list[str]:
    """Return the payloads that may be delivered."""
    return [stored.message.payload for stored in await value(store.messages(now_ms, 100))]


async def message_id(store: Store, payload: str) -> int:
    """Return a deliverable message's id, by payload."""
    ids = {stored.message.payload: stored.message_id for stored in await value(store.messages(FAR_MS, 100))}
    return ids[payload]


def settled_by(at: Address, fate: MessageFate) -> Transition:
    """Make a transition that does nothing but decide a message's fate."""
    return Transition(address=at, inbound=fate)


async def consumed(store: Store, at: Address, payload: str) -> None:
    """Consume a deliverable message."""
    await value(commit_one(store, settled_by(at, Consumed(await message_id(store, payload)))))


PLACES = tuple(address(id_) for id_ in ("a", "b", "ab"))
"""The addresses of the case: few, so that steps meet."""

KEYS = ("k", "l")


@attrs.frozen(kw_only=True)
class InboundStep:
    """Settle the message at a position in a listing, or one that was settled before.

    Attributes:
        of: the listing: the deliverable messages, or all that were seen.
        number: which one, modulo the listing's length.
        not_before_ms: until when it is postponed.
    """

    of: Literal["deliverable", "seen"]
    number: int
    fate: Literal["consumed", "postponed", "dead_lettered"]
    not_before_ms: int


@attrs.frozen(kw_only=True)
class CommitStep:
    """Commit a transition.

    Attributes:
        at: an address, by number.
        fence: ``right`` as stored, or an older one, or none, or another address's fence.
        write: put the instance, purge, purge and keep its messages to itself, or keep.
        instance: the instance that a put writes.
        targets: the addresses to send a message to, by number.
        event_ms: instants for the events to log.
        journal: the journal change, if the store keeps journals and the step puts an instance.
    """

    at: int
    fence: Literal["right", "old", "none", "foreign"]
    write: Literal["put", "purge", "retire", "keep"]
    instance: Instance
    remember: tuple[Remembered, ...]
    targets: tuple[int, ...]
    inbound: InboundStep | None
    event_ms: tuple[int, ...]
    journal: JournalChange | None = None
    new_keys: NewKeys | None = None


@attrs.frozen
class RedriveStep:
    """Redrive the dead letter at a position in their listing."""

    number: int


@attrs.frozen(kw_only=True)
class PruneStep:
    """Prune with these numbers."""

    now_ms: int
    events_since_ms: int
    max_events: int
    dead_letters_since_ms: int
    limit: int


@attrs.frozen
class KeepStep:
    """Declare how long the history of the case's job is kept."""

    age_ms: int
    events: int


@attrs.frozen
class ReopenStep:
    """Close the store and open it again."""


@attrs.frozen
class FindStep:
    """Compare a page of instances."""

    query: Query


@attrs.frozen
class ConcurrentStep:
    """Execute operations concurrently, and wait for all results.

    Attributes:
        asked: transitions to commit, and address numbers to load.
    """

    asked: tuple[CommitStep | int, ...]


@attrs.frozen(kw_only=True)
class KillStep:
    """Kill the store during commits, and open it again.

    Attributes:
        lines: how many lines of the store's code run before it dies. Beyond the last, it dies with the last answer.
        cut_percent: if set, the process dies in a write instead: once it has appended that many percent of the bytes
            that the previous commit appended.
        opening_lines: for each opening that is killed as well, after how many lines. After these, one succeeds.
    """

    commits: tuple[CommitStep | PruneStep, ...]
    lines: int
    cut_percent: int | None = None
    opening_lines: tuple[int, ...] = ()


Step: TypeAlias = CommitStep | RedriveStep | PruneStep | KeepStep | ReopenStep | FindStep | ConcurrentStep | KillStep

_instants = st.integers(0, 20)
_small = st.integers(0, 5)


def kills() -> st.SearchStrategy[list[Step]]:
    """Draw a history in which the store is killed.

    Returns:
        A few commits, then a kill, once or twice.
    """
    kill = st.builds(
        KillStep, commits=st.lists(_commits(), min_size=1, max_size=3).map(tuple), lines=st.integers(0, 400)
    )
    lives = st.lists(st.tuples(st.lists(_commits(), max_size=4), kill), min_size=1, max_size=2)
    return lives.map(_joined)


def _joined(lives: list[tuple[list[CommitStep], KillStep]]) -> list[Step]:
    steps: list[Step] = []
    for commits, kill in lives:
        steps += [*commits, kill]
    return steps


def steps() -> st.SearchStrategy[list[Step]]:
    """Draw a history for two stores.

    Returns:
        Steps, mostly commits.
    """
    together = st.lists(_commits() | st.integers(0, 2), min_size=2, max_size=4)
    rare = st.one_of(
        st.builds(ConcurrentStep, together.map(tuple)),
        st.builds(RedriveStep, _small),
        st.builds(
            PruneStep,
            now_ms=_instants,
            events_since_ms=_instants,
            max_events=_small,
            dead_letters_since_ms=_instants,
            limit=st.integers(1, 4),
        ),
        st.builds(KeepStep, age_ms=st.integers(1, 20), events=st.integers(1, 3)),
        st.just(ReopenStep()),
        st.builds(FindStep, _queries()),
    )
    part = st.lists(st.one_of(_commits(), _commits(), _commits(), rare), max_size=10)
    # Hypothesis draws short lists: three of them are long enough for steps to meet, and shrink as well as one.
    return st.tuples(part, part, part).map(lambda parts: [*parts[0], *parts[1], *parts[2]])


def _commits() -> st.SearchStrategy[CommitStep]:
    return st.builds(
        CommitStep,
        at=st.sampled_from((0, 0, 0, 1, 2)),
        fence=st.sampled_from(("right", "right", "right", "right", "old", "none", "foreign")),
        write=st.sampled_from(("put", "put", "purge", "retire", "keep")),
        instance=_instances(),
        remember=st.lists(_remembered(), max_size=2, unique_by=lambda remembered: remembered.key).map(tuple),
        targets=st.lists(st.sampled_from((0, 0, 1, 2)), max_size=3).map(tuple),
        inbound=st.none() | _inbounds(),
        event_ms=st.lists(_instants, max_size=2).map(tuple),
        journal=st.none() | _journal_changes(),
        new_keys=st.none() | st.none() | _new_keys(),
    )


def _new_keys() -> st.SearchStrategy[NewKeys]:
    keys = st.lists(st.sampled_from(KEYS), min_size=1, max_size=2, unique=True).map(tuple)
    return st.builds(NewKeys, keys, _instants)


def _journal_changes() -> st.SearchStrategy[JournalChange]:
    return st.builds(
        JournalChange,
        st.lists(st.sampled_from(("[]", "é\u0000", "")), max_size=2).map(tuple),
        st.sampled_from(("kept", "kept", "cut")),
        st.lists(st.tuples(st.integers(0, 3), st.sampled_from(("again", ""))), max_size=1).map(tuple),
    )


def _instances() -> st.SearchStrategy[Instance]:
    return st.builds(
        Instance,
        address=st.just(PLACES[0]),
        created_ms=_instants,
        updated_ms=_instants,
        state=st.sampled_from(("", '{"n":1}', '"é\\u0000"')),
        alarm_ms=st.none() | _instants,
        suspension=st.sampled_from((None, None, None, "paused", "not_retryable")),
        pending_retry=st.sampled_from((None, None, PENDING_RETRY, attrs.evolve(PENDING_RETRY, at_ms=3))),
        claim=st.sampled_from((None, None, CLAIM, attrs.evolve(CLAIM, owner=2))),
        event_claim=st.sampled_from((None, None, CLAIM)),
        run_count=_small,
        last_error=st.sampled_from((None, ERROR)),
        lane=st.sampled_from((None, None, "", "a")),
        ended_ms=st.sampled_from((None, None, 4)),
        suspended_ms=st.sampled_from((None, 3)),
        left=st.sampled_from((None, None, LEFT, attrs.evolve(LEFT, codes=("c", "a")))),
    )


def _remembered() -> st.SearchStrategy[Remembered]:
    return st.builds(
        Remembered,
        key=st.sampled_from(KEYS),
        action=st.just("send"),
        fingerprint=st.just("f"),
        answer=st.sampled_from(("1", "2")),
        expires_ms=_instants,
        failures=st.sampled_from((0, 0, 2)),
        full_answers=st.integers(1, 4),
    )


def _inbounds() -> st.SearchStrategy[InboundStep]:
    return st.builds(
        InboundStep,
        of=st.sampled_from(("deliverable", "deliverable", "deliverable", "seen")),
        number=_small,
        fate=st.sampled_from(("consumed", "postponed", "dead_lettered")),
        not_before_ms=_instants,
    )


_JOBS = ((PLACES[0].kind, PLACES[0].name),)
_OTHER_JOBS = (("task", "none"),)


def _queries() -> st.SearchStrategy[Query]:
    return st.builds(
        Query,
        kind=st.sampled_from((None, "task", "none")),
        jobs=st.sampled_from((None, None, _JOBS, _OTHER_JOBS)),
        except_jobs=st.sampled_from(((), (), _OTHER_JOBS, _JOBS)),
        id_prefix=st.sampled_from(("", "a", "ab", "b")),
        status=st.sampled_from(
            (None, "scheduled", "queued", "idle", "running", "retrying", "paused", "parked", "left", "done")
        ),
        due_before_ms=st.none() | _instants,
        after=st.none() | st.sampled_from(PLACES),
        limit=st.integers(1, 3),
    )


History: TypeAlias = tuple[Step, ...]

# Without the phase that explains: it traces every line of the store, and our failures explain themselves.
_PHASES = tuple(phase for phase in Phase if phase is not Phase.explain)


def _search_settings(max_examples: int) -> settings:
    """Follow the loaded profile. Without one, draw the same histories on every run."""
    chosen = settings(
        max_examples=max_examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        phases=_PHASES,
        report_multiple_bugs=False,
    )
    if settings.get_current_profile_name() == "default":
        return settings(chosen, derandomize=True, database=None)
    return chosen


def search(
    histories: SearchStrategy[list[Step]], take: Callable[[History], None], *, max_examples: int, max_shrinks: int
) -> None:
    """Run histories until one fails, shrink that one, and raise its failure.

    The histories are the same on every run, unless a Hypothesis profile that draws new ones is loaded.

    Args:
        histories: draws them.
        take: runs one, and raises `RequirementViolated` when it fails.
        max_examples: how many to run until one fails.
        max_shrinks: how many to run after that. Hypothesis alone would shrink for up to five minutes.

    Raises:
        RequirementViolated: the failure from the smallest history that failed. A failure that was seen once is raised,
            even if the same history would pass the next time.
    """
    failed: dict[History, RequirementViolated] = {}
    runs_left = max_shrinks

    @_search_settings(max_examples)
    @given(histories)
    def pass_all(drawn: list[Step]) -> None:
        nonlocal runs_left
        history = tuple(drawn)
        if history in failed:
            raise failed[history]
        if failed:
            if runs_left == 0:
                raise _Enough
            runs_left -= 1
        try:
            take(history)
        except RequirementViolated as broken:
            failed[history] = broken
            raise

    with suppress(_Enough, RequirementViolated):
        pass_all()
    if failed:
        broken = failed[min(failed, key=_size)]
        # Made again without the note of hypothesis: the failure lists the operations; the drawn steps fill a screen.
        raise RequirementViolated(
            broken.what, details=broken.details, requirements=broken.requirements, story=broken.story
        ) from broken.__cause__


class _Enough(BaseException):  # not an Exception, so that hypothesis lets it through at once
    """The bound is reached."""


def _size(history: History) -> tuple[int, int]:
    return len(history), len(repr(history))
