"""What parent and worker of the demo say to each other: one JSON object a line, commands in, answers out."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from perdure.codecs import Codec
from perdure.examples.incoming import INCOMING_TAGS, Incoming

JobName: TypeAlias = Literal["token-refresher", "webhook-batcher", "order-processor"]


# ---------------------------------------------------------------- commands
@attrs.frozen
class SendEvent:
    """Hand an event to its job, under its own id as the idempotency key."""

    number: int
    incoming: Incoming


@attrs.frozen
class StartToken:
    """Keep an owner's token fresh."""

    number: int
    owner: str


@attrs.frozen
class InspectStore:
    """Say how the instances are, and show so many of each job."""

    number: int
    rows: int


@attrs.frozen
class Stop:
    """Stop gracefully. The end of the input says the same."""


Command: TypeAlias = SendEvent | StartToken | InspectStore | Stop


# ---------------------------------------------------------------- answers
@attrs.frozen
class Ready:
    """The store is open.

    Attributes:
        process: the worker's process id.
        left_behind: instances whose run an earlier process left behind.
    """

    process: int
    left_behind: int


@attrs.frozen
class Accepted:
    """The event was handled, and what it changed is safe."""

    number: int


@attrs.frozen
class Refusal:
    """The event was refused; nothing changed."""

    number: int
    reason: str


@attrs.frozen
class Unsettled:
    """The event may or may not have been handled, or the store did not answer: it should be sent again."""

    number: int
    reason: str


@attrs.frozen(kw_only=True)
class InstanceRow:
    """One instance, in short.

    Attributes:
        job: its job.
        id: which.
        state: what is stored of it, in a few words.
        status: its status.
        due_in_ms: until its alarm; None without one.
        attempt: the attempt that is running or comes next.
        count: events accepted, or runs begun.
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
        """How many in all."""
        return sum(self.by_status.values())

    @property
    def busy(self) -> int:
        """How many run, or wait for another try."""
        return self.by_status.get("running", 0) + self.by_status.get("retrying", 0)


@attrs.frozen
class Seen:
    """How the instances are."""

    number: int
    counts: tuple[JobCounts, ...]
    rows: tuple[InstanceRow, ...]


Answer: TypeAlias = Accepted | Refusal | Unsettled | Seen

COMMANDS: Codec[Command] = Codec.of(Command, what="command", tags=INCOMING_TAGS)
ANSWERS: Codec[Answer | Ready] = Codec.of(Answer | Ready, what="answer")
