"""Every error that a user of the library can meet, in one tree.

::

    PerdureError
    ├── DefinitionError                raised while a definition, a schedule or an app is put together
    ├── AlreadyAwaited                 raised where a call is awaited a second time: nothing was sent
    ├── RequestError                   the answer of a call that changed nothing
    │   ├── InvalidId                  the instance id is not usable
    │   ├── InvalidArgument      an argument of a call is not usable: a limit, a status, a wait_for
    │   ├── InvalidInput               a state or an event is not of its declared type
    │   ├── UnknownJob                 nothing of that name is served here
    │   ├── UnknownAction              that kind of job has no such call
    │   ├── IdempotencyConflict        the idempotency key came back with another request
    │   ├── StoredResultUnreadable     a repeat was not applied again, and this code cannot read the stored answer
    │   ├── Overloaded                 a bounded queue or table is full; nothing was taken
    │   ├── InstanceParked             the instance is kept aside and takes nothing until it is resumed
    │   ├── Undecodable                this code cannot read the stored data; the instance is parked, its bytes kept
    │   └── EngineClosed               the engine is stopping and takes no request any more
    ├── HookFailed                     the job's own code did not succeed; nothing of its draft was kept
    │   ├── Rejected                   it failed with its typed error
    │   ├── HookRaised                 it raised: a defect, with its traceback
    │   └── RunTimeout                 it took longer than its job's run_timeout, and was cancelled
    ├── OutcomeUnknown                 the call may or may not have been applied: repeat it with its key
    └── StoreError                     what a storage interpreter may answer
        ├── Conflict                   the instance moved on; nothing was written
        ├── StoreUnavailable           the storage did not answer; nothing was written
        ├── StoreLocked                another engine owns the store
        ├── OwnershipLost              the store is not this engine's any more; nothing was written, the engine stops
        ├── StoreTooNew                the store was written by a newer version of the library
        ├── StoreCorrupt               a row cannot be read as what it should be
        └── BackupFailed               no backup was made, and no part of one is left

They are exceptions, so that ``unwrap`` and ``raise`` work; the client hands them out as values, inside ``Failure``.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import attrs

from perdure.values.excerpt import excerpt, fields_in_line, one_line, shortened

E_co = TypeVar("E_co", covariant=True)

_SHORT = 80
"""Text of so many characters is shown as it is; of longer text, an error says the length too."""


class PerdureError(Exception):
    """The root: catch it to catch everything that this library raises on purpose.

    Its message and its ``repr`` have at most 1,000 characters, whatever the values it names.
    """

    def __str__(self) -> str:
        return shortened(one_line(shortened(self._text())))

    def __repr__(self) -> str:
        return fields_in_line(self) if attrs.has(type(self)) else excerpt(self.args)

    def _text(self) -> str:
        return super().__str__()


@attrs.frozen(repr=False)
class DefinitionError(PerdureError):
    """Something in a definition, a schedule, a duration or an app is wrong. Raised where it is written.

    Attributes:
        what: the part that is wrong, such as ``"flush_after of 'webhook-batcher'"``.
        got: the value that came.
        expected: what would have been right, and what to do.
    """

    what: str
    got: object
    expected: str

    def _text(self) -> str:
        return f"{self.what}: expected {self.expected}; got {excerpt(self.got)}"


@attrs.frozen(repr=False)
class AlreadyAwaited(PerdureError):
    """A call was awaited a second time. Nothing was sent: a call is one request, and is awaited once."""

    def _text(self) -> str:
        return (
            "this call was awaited before, and nothing is sent twice; make the call again to send another request, "
            "with an idempotency key if the first one may have been applied"
        )


class RequestError(PerdureError):
    """A call that was refused: nothing was written, nothing ran."""


@attrs.frozen(repr=False)
class InvalidId(RequestError):
    """The instance id is not text of 1 to 512 characters."""

    got: object
    expected: str

    def _text(self) -> str:
        length = f", {len(self.got)} characters" if isinstance(self.got, str) and len(self.got) > _SHORT else ""
        return f"instance id: expected {self.expected}; got {excerpt(self.got)}{length}"


@attrs.frozen(repr=False)
class InvalidArgument(RequestError):
    """An argument of a call is not usable.

    Attributes:
        what: the argument, such as ``"limit of history"``.
        got: the value that was passed.
        expected: what would have been right.
    """

    what: str
    got: object
    expected: str

    def _text(self) -> str:
        return f"{self.what}: expected {self.expected}; got {excerpt(self.got)}"


@attrs.frozen(repr=False)
class InvalidInput(RequestError):
    """A state, an event or another input does not have its declared type.

    Attributes:
        what: which input, of which job.
        problems: one line for each thing that is wrong, with its path inside the value.
    """

    what: str
    problems: tuple[str, ...]

    def _text(self) -> str:
        return f"{self.what}: " + "; ".join(self.problems)


@attrs.frozen(repr=False)
class UnknownJob(RequestError):
    """No job of that kind and name is served by this engine."""

    kind: str
    name: str
    served: tuple[str, ...]

    def _text(self) -> str:
        served = ", ".join(self.served) or "none"
        return f"no job {self.kind}:{self.name} is served here (served: {served}); add its definition to the engine"


@attrs.frozen(repr=False)
class UnknownAction(RequestError):
    """That kind of job has no such call."""

    job: str
    action: str
    known: tuple[str, ...]

    def _text(self) -> str:
        return f"{self.job} has no action {excerpt(self.action)}; it has {', '.join(self.known)}"


@attrs.frozen(repr=False)
class IdempotencyConflict(RequestError):
    """The idempotency key was used before for another action or another payload."""

    key: str
    first_action: str
    action: str

    def _text(self) -> str:
        return (
            f"idempotency key {self.key!r} was first used for {self.first_action!r} with another request than this "
            f"{self.action!r}; use a new key for a new request"
        )


@attrs.frozen(repr=False)
class StoredResultUnreadable(RequestError):
    """The request was applied before, under this key. Nothing was done again, and the answer of then cannot be read.

    Attributes:
        address: the instance, printed ``kind:name:id``.
        key: the idempotency key.
        problems: why the remembered answer cannot be read.
    """

    address: str
    key: str
    problems: tuple[str, ...]

    def _text(self) -> str:
        return (
            f"the request with idempotency key {self.key!r} was applied to {self.address} before, and is not applied "
            f"again; its answer is stored in a form that this code cannot read ({'; '.join(self.problems)})"
        )


@attrs.frozen(repr=False)
class Overloaded(RequestError):
    """Something bounded is full. Nothing was taken: ask again later, or raise the limit.

    Attributes:
        what: the bounded thing, such as ``"mailbox of task:order:1"``.
        limit: how much it holds.
    """

    what: str
    limit: int

    def _text(self) -> str:
        return f"{self.what} is full (limit {self.limit}); try again later or raise the limit"


@attrs.frozen(repr=False)
class InstanceParked(RequestError):
    """The instance is parked: kept, visible and silent. It takes no such request until it is resumed.

    Attributes:
        address: the instance, printed ``kind:name:id``.
        reason: why it is parked.
    """

    address: str
    reason: str

    def _text(self) -> str:
        return f"{self.address} is parked ({self.reason}); resume it once the reason is mended"


@attrs.frozen(repr=False)
class Undecodable(RequestError):
    """What is stored of the instance cannot be read by this code. The first turn that needs it parks it, bytes kept.

    Attributes:
        address: the instance, printed ``kind:name:id``.
        problems: why it cannot be read.
    """

    address: str
    problems: tuple[str, ...]

    def _text(self) -> str:
        return (
            f"{self.address} is stored in a form that this code cannot read ({'; '.join(self.problems)}); its bytes "
            "are kept: deploy code that reads them, and it resumes by itself"
        )


@attrs.frozen(repr=False)
class EngineClosed(RequestError):
    """The engine is stopping, or has stopped. Nothing was taken."""

    reason: str = "the engine is shutting down"

    def _text(self) -> str:
        return f"{self.reason}; the request was not taken"


class HookFailed(PerdureError):
    """The job's own code did not succeed while it answered this call; nothing of its draft was kept."""


@attrs.frozen(repr=False)
class Rejected(HookFailed, Generic[E_co]):
    """The job's hook failed with its own, declared error."""

    error: E_co

    def _text(self) -> str:
        return f"the job rejected the request: {excerpt(self.error)}"


@attrs.frozen(repr=False)
class HookRaised(HookFailed):
    """The job's hook broke with an exception that nobody declared: a bug, kept with its traceback.

    Attributes:
        error_type: the exception's qualified class name.
        message: its text.
        traceback: the formatted traceback.
    """

    error_type: str
    message: str
    traceback: str

    def _text(self) -> str:
        return f"the job's code broke with {self.error_type}: {self.message}"


@attrs.frozen(repr=False)
class RunTimeout(HookFailed):
    """A hook took longer than its job allows and was cancelled. A run that fails so is retried by the policy.

    Attributes:
        run_timeout_ms: how long it was allowed to take.
    """

    run_timeout_ms: int

    def _text(self) -> str:
        return f"the run took longer than run_timeout ({self.run_timeout_ms} ms) and was cancelled"


@attrs.frozen(repr=False)
class OutcomeUnknown(PerdureError):
    """The request may or may not have been applied. Repeat it with the same idempotency key to learn which."""

    reason: str

    def _text(self) -> str:
        return f"the outcome is not known: {self.reason}; repeat the request with its idempotency key"


class StoreError(PerdureError):
    """What a storage interpreter answers when it cannot do what it was asked."""


@attrs.frozen(repr=False)
class Conflict(StoreError):
    """The instance is not at the version that the transition expects. Nothing was written."""

    address: str

    def _text(self) -> str:
        return f"{self.address} moved on before the commit; nothing was written"


@attrs.frozen(repr=False)
class StoreUnavailable(StoreError):
    """The storage did not do what it was asked. Nothing was written."""

    operation: str
    reason: str

    def _text(self) -> str:
        return f"the store could not {self.operation}: {self.reason}; nothing was written"


@attrs.frozen(repr=False)
class StoreLocked(StoreError):
    """Another engine owns the store."""

    store: str
    owner: str

    def _text(self) -> str:
        return f"{self.store} is owned by {self.owner}; stop that engine first: a file has one owner at a time"


@attrs.frozen(repr=False)
class OwnershipLost(StoreError):
    """The store is not this engine's any more. Nothing was written, nothing will be: the engine stops.

    Attributes:
        store: which store.
        reason: what was found, and what to do.
    """

    store: str
    reason: str

    def _text(self) -> str:
        return f"this engine does not own {self.store} any more: {self.reason}; nothing was written"


@attrs.frozen(repr=False)
class StoreTooNew(StoreError):
    """The store was written by a newer version of the library than this one."""

    store: str
    found: int
    supported: int

    def _text(self) -> str:
        return (
            f"{self.store} has schema version {self.found}, this library reads up to {self.supported}; "
            "upgrade perdure, or open the file with the version that wrote it"
        )


@attrs.frozen(repr=False)
class StoreCorrupt(StoreError):
    """A stored row is not what it should be. The other rows are untouched."""

    what: str
    reason: str

    def _text(self) -> str:
        return f"{self.what} cannot be read: {self.reason}"


@attrs.frozen(repr=False)
class BackupFailed(StoreError):
    """No backup was made. Nothing is left at its path that was not there before; the store goes on.

    Attributes:
        path: where the backup was to be.
        reason: why there is none, and what to do.
    """

    path: str
    reason: str

    def _text(self) -> str:
        return f"no backup was written to {self.path}: {self.reason}"
