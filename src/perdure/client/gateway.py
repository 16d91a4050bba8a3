"""How a client reaches an engine: in this process or in another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from perdure.client.by_name import JobByName
from perdure.engine.sinks import InFlight
from perdure.jobs.call import Call
from perdure.jobs.definition import AnyDefinition, CallError, Dispatch
from perdure.jobs.explanation import Answers, Explanation
from perdure.jobs.request import Request
from perdure.stores.values import Backup, Health, LoggedEvent, OnBackupProgress
from perdure.values.address import Address
from perdure.values.errors import UnknownJob
from perdure.values.limits import Limits
from perdure.values.listings import EngineMember, StoreCounts
from perdure.values.live_event import EngineStopped
from perdure.values.message import StoredMessage
from perdure.values.status_wait import Awaited, WaitCondition
from perdure.wire.info import EngineInfo


class Gateway(Dispatch, Protocol):
    """Every call that a client makes. `Client` checks the arguments; each call is awaited once."""

    @property
    def name(self) -> str:
        """The store or the server, for messages."""
        ...

    @property
    def definitions(self) -> Mapping[tuple[str, str], AnyDefinition]:
        """The definitions that typed handles exist for, by kind and name."""
        ...

    def unknown(self, kind: str, name: str, /) -> UnknownJob:
        """Return the error for a job without a typed handle."""
        ...

    def by_name(self, kind: str, name: str, /) -> JobByName:
        """Return untyped access to a job.

        Raises:
            UnknownJob: the gateway knows that the engine does not serve it.
        """
        ...

    def explain_request(
        self, definition: AnyDefinition, id_: str, build: Callable[[Limits], Request], answers: Answers, /
    ) -> Call[Explanation, CallError]:
        """Compute the effect of a request without applying it."""
        ...

    def history(self, address: Address, before: int | None, limit: int, /) -> Call[tuple[LoggedEvent, ...], CallError]:
        """Read the newest events of an address, the newest first."""
        ...

    def until(self, address: Address, wanted: WaitCondition, timeout_ms: int, /) -> Call[Awaited, CallError]:
        """Wait until an instance has a wanted status."""
        ...

    def dead_letters(self, after: int, limit: int, /) -> Call[tuple[StoredMessage, ...], CallError]:
        """Read messages that failed too often, the oldest first."""
        ...

    def redrive(self, message_id: int, /) -> Call[Literal["redriven", "not_found"], CallError]:
        """Turn a dead letter into an ordinary message again."""
        ...

    def left_messages(self, limit: int, /) -> Call[tuple[StoredMessage, ...], CallError]:
        """Read messages that code left."""
        ...

    def bury(self, message_id: int, /) -> Call[Literal["buried", "not_found"], CallError]:
        """Make a message that code left a dead letter."""
        ...

    def stopped(self) -> Call[EngineStopped, CallError]:
        """Wait until the engine has stopped."""
        ...

    def backup(self, path: str, progress: OnBackupProgress, /) -> Call[Backup, CallError]:
        """Copy the store into a new file."""
        ...

    def in_flight(self) -> Call[InFlight, CallError]:
        """Read the work that the engine has accepted and not finished."""
        ...

    def counts(self) -> Call[StoreCounts, CallError]:
        """Count the instances by job and status."""
        ...

    def members(self) -> Call[tuple[EngineMember, ...], CallError]:
        """Read the engines that share the store."""
        ...

    def health(self) -> Call[Health, CallError]:
        """Read the state of the store."""
        ...

    def metrics(self) -> Call[str, CallError]:
        """Read the metrics of the engine in the text format of Prometheus."""
        ...

    def info(self) -> Call[EngineInfo, CallError]:
        """Read the version of the engine, its jobs and its limits."""
        ...
