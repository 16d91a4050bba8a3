"""Small values for the cases and for store tests: addresses, instances, messages, transitions."""

from __future__ import annotations

from perdure.stores.contract import Store, commit_one
from perdure.testing.conformance.assertions import value
from perdure.values.address import Address
from perdure.values.event import JobStarted
from perdure.values.failure import FailureRecord
from perdure.values.instance import Claim, Fence, Instance, Left, PendingRetry
from perdure.values.message import Consumed, Message, MessageFate
from perdure.values.transition import Put, Remembered, Transition

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
