"""The messages between parent and worker of the demo: one JSON object a line, commands in, answers out."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from perdure.codecs import Codec
from perdure.examples.incoming import INCOMING_TAGS, Incoming

JobName: TypeAlias = Literal["token-refresher", "webhook-batcher", "order-processor", "receipts", "welcome"]


# ---------------------------------------------------------------- commands
@attrs.frozen
class SendEvent:
    """Send an event to its job, with its own id as the idempotency key."""

    number: int
    incoming: Incoming


@attrs.frozen
class StartToken:
    """Keep an owner's token fresh."""

    number: int
    owner: str


@attrs.frozen
class StartWork:
    """Put the receipts, and start the workflows. Those that are there are left unchanged."""

    number: int


@attrs.frozen
class InspectStore:
    """Count the instances, and list up to ``rows`` for each job."""

    number: int
    rows: int


@attrs.frozen
class Stop:
    """Stop gracefully. The input's end has the same effect."""


Command: TypeAlias = SendEvent | StartToken | StartWork | InspectStore | Stop


# ---------------------------------------------------------------- answers
@attrs.frozen
class Ready:
    """The store is open.

    Attributes:
        left_behind: instances whose run a previous process did not complete.
    """

    process: int
    left_behind: int


@attrs.frozen
class Accepted:
    """The event was handled, and its changes are durable."""

    number: int


@attrs.frozen
class Refusal:
    """The event was refused. Nothing changed."""

    number: int
    reason: str


@attrs.frozen
class Unsettled:
    """The event may or may not have been handled, or the store was unavailable: send it again."""

    number: int
    reason: str


@attrs.frozen(kw_only=True)
class InstanceRow:
    """One instance's summary.

    Attributes:
        state: its state, in a few words.
        due_in_ms: the time until its alarm. None without one.
        attempt: the attempt that is running or due next.
        count: events accepted, or runs started.
    """

    job: JobName
    id: str
    state: str
    status: str
    due_in_ms: int | None
    attempt: int
    count: int


@attrs.frozen
class JobCounts:
    """How many instances a job has, by status."""

    job: JobName
    by_status: dict[str, int]

    @property
    def instances(self) -> int:
        """How many instances there are."""
        return sum(self.by_status.values())

    @property
    def busy(self) -> int:
        """How many instances run, or wait for a retry."""
        return self.by_status.get("running", 0) + self.by_status.get("retrying", 0)


@attrs.frozen
class Seen:
    """The answer to ``InspectStore``."""

    number: int
    counts: tuple[JobCounts, ...]
    rows: tuple[InstanceRow, ...]


Answer: TypeAlias = Accepted | Refusal | Unsettled | Seen

COMMANDS: Codec[Command] = Codec.of(Command, what="command", tags=INCOMING_TAGS)
ANSWERS: Codec[Answer | Ready] = Codec.of(Answer | Ready, what="answer")
