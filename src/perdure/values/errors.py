"""Every error that the library raises or returns, in one tree.

::

    PerdureError
    ├── DefinitionError                raised while you build a definition, a schedule or an app
    ├── EnsureFailed                   raised while an app is opened: it could not create an instance that it declares
    ├── ListenFailed                   raised when a server cannot listen on an address
    ├── AlreadyAwaited                 raised when a call is awaited a second time: nothing was sent
    ├── RequestError                   the call was refused and changed nothing
    │   ├── InvalidId                  the instance id is not valid
    │   ├── InvalidArgument            a call argument is not valid: a limit, a status, a wait_for
    │   ├── InvalidInput               a state or an event does not have its declared type
    │   ├── UnknownJob                 this engine serves no job with that name
    │   ├── UnknownAction              the job's kind has no such call
    │   ├── IdempotencyConflict        the idempotency key was used before with another request
    │   ├── AnswerNotKept              a repeat was not applied again, and the stored result is not kept any more
    │   ├── StoredResultUnreadable     a repeat was not applied again, and this code cannot read the stored result
    │   ├── Overloaded                 a bounded queue or table is full; the request was not accepted
    │   ├── InstanceParked             the instance is parked and accepts no such request until it is resumed
    │   ├── Undecodable                this code cannot read the stored data; the instance is parked, its bytes kept
    │   ├── ForkRefused                a workflow cannot be forked like this
    │   ├── UpdateRefused              the validator of an update refused it
    │   ├── SignalRefused              there is no workflow that could receive the signal
    │   ├── MetricsDisabled            the engine counts no metrics
    │   ├── EngineClosed               the engine is stopping and accepts no requests
    │   ├── ServerUnreachable          no engine answers at the client's address; nothing was applied
    │   └── AccessDenied               the server refuses this client: no token, a wrong one, or too small a scope
    ├── NotPublished                   an instance did not publish a value, and will not
    ├── HookFailed                     the job's own code did not succeed; its changes were discarded
    │   ├── Rejected                   it failed with its typed error
    │   ├── HookRaised                 it raised an exception: a defect, with its traceback
    │   └── RunTimeout                 it took longer than its job's run_timeout and was cancelled
    ├── PutManyStopped                 ``put_many`` stopped at an item. The items before it were put
    ├── OutcomeUnknown                 the call may or may not have been applied: repeat it with its key
    └── StoreError                     an error that a store returns
        ├── Conflict                   the instance changed before the commit; nothing was written
        ├── StoreUnavailable           the storage failed; nothing was written
        ├── StoreLocked                another engine owns the store
        ├── StoreMissing               the file is missing or empty, and is not created
        ├── OwnershipLost              this engine no longer owns the store; nothing was written, the engine stops
        ├── StoreTooNew                a newer version of the library wrote the store
        ├── StoreCorrupt               a stored row is not valid
        ├── BackupFailed               no backup was made, and no partial file remains
        └── CopyFailed                 a store was not copied: the target is not empty, or the source changed

    They are exceptions, so that ``await call`` raises them; ``attempt`` returns them as values, inside ``Failure``.
"""

from __future__ import annotations

from typing import Generic, Literal, TypeAlias, TypeVar

import attrs

from perdure.values.excerpt import excerpt, fields_in_line, one_line, shortened
from perdure.values.status import printed

E_co = TypeVar("E_co", covariant=True)

_SHORT = 80
"""Text up to this length is shown unchanged; for longer text, an error also states the length."""


class PerdureError(Exception):
    """The root: catch it to catch every error that this library raises deliberately.

    Its message and its ``repr`` have at most 1,000 characters, however large the values in it are.
    """

    def __str__(self) -> str:
        return shortened(one_line(shortened(self._text())))

    def __repr__(self) -> str:
        return fields_in_line(self) if attrs.has(type(self)) else excerpt(self.args)

    def _text(self) -> str:
        return super().__str__()


@attrs.frozen(repr=False)
class DefinitionError(PerdureError):
    """A definition, a schedule, a duration or an app is not valid. Raised where it is written.

    Attributes:
        what: the invalid part, such as ``"flush_after of 'webhook-batcher'"``.
        got: the passed value.
        expected: the values that are valid, and how to fix the error.
    """

    what: str
    got: object
    expected: str

    def _text(self) -> str:
        return f"{self.what}: expected {self.expected}; got {excerpt(self.got)}"


@attrs.frozen(repr=False)
class EnsureFailed(PerdureError):
    """An instance that an app declares could not be created, so the engine did not start.

    Instances that were created before remain.

    Attributes:
        address: the instance, printed ``kind:name:id``.
        action: the creating request's action, such as ``"start"``.
        error: that request's error.
    """

    address: str
    action: str
    error: Exception

    def _text(self) -> str:
        return (
            f"the engine did not start: the app declares {self.address}, and its {self.action!r} failed: {self.error}; "
            "fix the cause, or remove the declaration"
        )


@attrs.frozen(repr=False)
class ListenFailed(PerdureError):
    """A server could not listen on an address.

    Attributes:
        address: the address, such as ``127.0.0.1:8080`` or ``unix:/path/of.sock``.
        reason: the cause, and how to fix it.
    """

    address: str
    reason: str

    def _text(self) -> str:
        return f"cannot listen on {self.address}: {self.reason}"


@attrs.frozen(repr=False)
class AlreadyAwaited(PerdureError):
    """A call was awaited a second time. Nothing was sent: a call is one request and is awaited once."""

    def _text(self) -> str:
        return (
            "this call was awaited before, and nothing is sent twice; make the call again to send another request, "
            "with an idempotency key if the first one may have been applied"
        )


class RequestError(PerdureError):
    """The call was refused: nothing was written, nothing ran."""


@attrs.frozen(repr=False)
class InvalidId(RequestError):
    """The instance id is not text with 1 to 512 characters."""

    got: object
    expected: str

    def _text(self) -> str:
        length = f", {len(self.got)} characters" if isinstance(self.got, str) and len(self.got) > _SHORT else ""
        return f"instance id: expected {self.expected}; got {excerpt(self.got)}{length}"


@attrs.frozen(repr=False)
class InvalidArgument(RequestError):
    """A call argument is not valid.

    Attributes:
        what: the argument, such as ``"limit of history"``.
        got: the value that was passed.
        expected: the values that are valid.
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
        what: the input and its job.
        problems: one line for each problem, with its path inside the value.
    """

    what: str
    problems: tuple[str, ...]

    def _text(self) -> str:
        return f"{self.what}: " + "; ".join(self.problems)


@attrs.frozen(repr=False)
class UnknownJob(RequestError):
    """The app serves no job with that kind and name, or serves another definition under them.

    Attributes:
        kind: the job's kind.
        name: the job's name.
        served: the app's jobs, or those that the client in another process was connected with.
        known_to: whether the ``app`` or the ``client`` knows the ``served`` jobs.
    """

    kind: str
    name: str
    served: tuple[str, ...]
    known_to: Literal["app", "client"] = "app"

    def _text(self) -> str:
        job, served = f"{self.kind}:{self.name}", ", ".join(self.served) or "none"
        if self.known_to == "client":
            received = f"received another definition of {job}" if job in self.served else f"did not receive {job}"
            return f"this client {received} (received: {served}); pass its definition: connect(url, ..., definition)"
        if job in self.served:
            return f"the app serves another definition of {job} (served: {served}); pass the one that you built it with"
        return f"the app does not serve {job} (served: {served}); add its definition: app.with_jobs(...)"


@attrs.frozen(repr=False)
class UnknownLimit(RequestError):
    """The engine knows no limit with that name.

    Attributes:
        name: the name that was passed.
        known: the limits that the engine knows.
    """

    name: str
    known: tuple[str, ...]

    def _text(self) -> str:
        known = ", ".join(self.known) or "none"
        return (
            f"the engine knows no limit {excerpt(self.name)} (known: {known}); a limit that only effects name is known "
            "from the first call on"
        )


@attrs.frozen(repr=False)
class UnknownAction(RequestError):
    """The job's kind has no such call."""

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
class AnswerNotKept(RequestError):
    """The request was applied before, under this key. It was not applied again, and its answer is not kept any more.

    Attributes:
        address: the instance, printed ``kind:name:id``.
        key: the idempotency key.
        action: the action that the key was used for.
    """

    address: str
    key: str
    action: str

    def _text(self) -> str:
        return (
            f"the {self.action!r} with idempotency key {self.key!r} was applied to {self.address} before, and is not "
            "applied again; only the newest answers of an address are kept (answers_per_address): read the instance"
        )


@attrs.frozen(repr=False)
class StoredResultUnreadable(RequestError):
    """The request was applied before, under this key. It was not applied again, and its stored result is unreadable.

    Attributes:
        address: the instance, printed ``kind:name:id``.
        key: the idempotency key.
        problems: why the stored result cannot be read.
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
    """A bounded queue or table is full. The request was not accepted: retry later, or raise the limit.

    Attributes:
        what: the full queue or table, such as ``"mailbox of task:order:1"``.
        limit: its capacity.
    """

    what: str
    limit: int

    def _text(self) -> str:
        return f"{self.what} is full (limit {self.limit}); try again later or raise the limit"


@attrs.frozen(repr=False)
class InstanceParked(RequestError):
    """The instance is parked: stored, visible and inactive. It accepts no such request until it is resumed.

    Attributes:
        address: the instance, printed ``kind:name:id``.
        reason: why it is parked.
    """

    address: str
    reason: str

    def _text(self) -> str:
        return f"{self.address} is parked ({self.reason}); resume it once the cause is fixed"


@attrs.frozen(repr=False)
class Undecodable(RequestError):
    """This code cannot read the instance's stored data, and leaves the instance to other code, its bytes unchanged.

    Attributes:
        address: the instance, printed ``kind:name:id``.
        problems: why it cannot be read.
    """

    address: str
    problems: tuple[str, ...]

    def _text(self) -> str:
        return (
            f"{self.address} is stored in a form that this code cannot read ({'; '.join(self.problems)}); its bytes "
            "are kept: deploy code that can read them, and the instance resumes by itself"
        )


ForkRefusal: TypeAlias = Literal["absent", "no_step", "undone", "large", "message"]
"""Why a workflow cannot be forked."""


@attrs.frozen(repr=False)
class NotPublished(PerdureError, LookupError):
    """An instance did not publish a value, and will not.

    Attributes:
        address: the instance, printed ``kind:name:id``.
        name: the value's name.
        reason: ``ended``: it ended without the value. ``absent``: it was never stored, or is no longer kept. ``full``:
            100 workflows wait for it already.
    """

    address: str
    name: str
    reason: str

    def _text(self) -> str:
        why = {
            "ended": "it has ended",
            "absent": "it was never stored, or is no longer kept",
            "full": "too many workflows wait for it already",
        }
        return f"{self.address} does not publish {self.name!r}: {why.get(self.reason, self.reason)}"


@attrs.frozen(repr=False)
class ForkRefused(RequestError):
    """A workflow cannot be forked like this. Nothing was stored.

    Attributes:
        source: the workflow to fork, printed ``kind:name:id``.
        step: the step, as it was given. Empty if none was.
        reason: ``absent``: there is no such workflow. ``no_step``: it has no such step. ``undone``: steps that the fork
            would keep have been undone. ``large``: the journal before the step is too large. ``message``: the request
            came in a message, or through code that cannot read the other journal.
        names: the steps that undid others.
    """

    source: str
    step: str
    reason: ForkRefusal
    names: tuple[str, ...] = ()

    def _text(self) -> str:
        match self.reason:
            case "no_step" if not self.step:
                return f"{self.source} has ended: name the step from which its fork performs again"
            case "no_step":
                return f"{self.source} has no step {self.step!r}: its steps are listed with their paths and names"
            case "undone":
                undone = ", ".join(self.names)
                return (
                    f"{self.source} has undone steps that its fork would keep, by {undone}: fork from an earlier step, "
                    "or accept it with accept_undone"
                )
            case "large":
                return f"the journal of {self.source} before {self.step!r} is too large to copy in one commit"
            case "message":
                return f"{self.source} can be forked by a caller, and not by a message"
            case _:
                return f"there is no {self.source} to fork: it was never started, or its outcome is no longer kept"


@attrs.frozen(repr=False)
class UpdateRefused(RequestError):
    """The validator of an update refused it. Nothing was stored.

    Attributes:
        address: the instance, printed ``kind:name:id``.
        update: the update's name.
        data: the typed error as JSON. A typed handle raises `Rejected` with that error instead.
    """

    address: str
    update: str
    data: str

    def _text(self) -> str:
        return f"{self.address} refuses the update {self.update!r}: its `data` has the typed error of the validator"


@attrs.frozen(repr=False)
class SignalRefused(RequestError):
    """There is no workflow that could receive a signal. Nothing was stored.

    Attributes:
        address: the instance, printed ``kind:name:id``.
        signal: the signal's name.
        found: ``absent``, or ``ended`` while the outcome is kept.
    """

    address: str
    signal: str
    found: Literal["absent", "ended"]

    def _text(self) -> str:
        if self.found == "ended":
            return f"{self.address} has ended, and receives no signal {self.signal!r}; its outcome says how it ended"
        return (
            f"there is no {self.address} to receive the signal {self.signal!r}: check the id, or start it first; or it "
            "has ended, and its outcome is no longer kept"
        )


@attrs.frozen(repr=False)
class MetricsDisabled(RequestError):
    """The engine counts no metrics: its app has no sink that exposes them."""

    def _text(self) -> str:
        return (
            "this engine counts no metrics: add prometheus() of perdure.telemetry.prometheus to the sinks of its app, "
            "or pass --metrics to 'perdure run' or 'perdure serve'"
        )


@attrs.frozen(repr=False)
class EngineClosed(RequestError):
    """The engine is stopping, or has stopped. The request was not accepted."""

    reason: str = "the engine is shutting down"

    def _text(self) -> str:
        return f"{self.reason}; the request was not accepted"


@attrs.frozen(repr=False)
class ServerUnreachable(RequestError):
    """No engine answers at the client's address. Nothing was applied.

    Attributes:
        server: the address, without a token.
        reason: why it does not answer, and how to fix that.
    """

    server: str
    reason: str

    def _text(self) -> str:
        return f"no engine answers at {self.server}: {self.reason}; nothing was applied"


AccessCause: TypeAlias = Literal["no_token", "wrong_token", "small_scope", "not_local"]
"""Why a server refuses a client. The first two are HTTP status 401, the others 403."""


@attrs.frozen(repr=False)
class AccessDenied(RequestError):
    """The server refuses the client. Nothing was read or written. No field contains the token.

    Attributes:
        scope: the scope that the request needs: ``read``, ``call`` or ``operate``.
        cause: ``no_token``, ``wrong_token``, ``small_scope``, or ``not_local``: the server has no tokens and serves
            only local programs, and the request does not look like one from a local program.
        reason: the cause in words, and how to fix it.
    """

    scope: str
    cause: AccessCause
    reason: str

    def _text(self) -> str:
        return f"access denied: {self.reason} (needs the scope {self.scope!r})"


class HookFailed(PerdureError):
    """The job's own code did not succeed while it handled this call. Its changes were discarded."""


@attrs.frozen(repr=False)
class Rejected(HookFailed, Generic[E_co]):
    """The job's hook failed with its own, declared error."""

    error: E_co

    def _text(self) -> str:
        return f"the job rejected the request: {printed(self.error)}"


@attrs.frozen(repr=False)
class HookRaised(HookFailed):
    """The job's hook raised an exception that it does not declare: a bug, kept with its traceback.

    Attributes:
        error_type: the exception's qualified class name.
        message: its text.
        traceback: the formatted traceback.
    """

    error_type: str
    message: str
    traceback: str

    def _text(self) -> str:
        return f"the job's code raised {self.error_type}: {self.message}"


@attrs.frozen(repr=False)
class RunTimeout(HookFailed):
    """A hook took longer than its job allows and was cancelled. Such a run is retried by the job's policy.

    Attributes:
        run_timeout_ms: the time limit.
    """

    run_timeout_ms: int

    def _text(self) -> str:
        return f"the run took longer than run_timeout ({self.run_timeout_ms} ms) and was cancelled"


@attrs.frozen(repr=False)
class PutManyStopped(PerdureError):
    """``put_many`` stopped at an item. The items before it were put, and so were some later items in the same chunk.

    Repeat the call with the same items to put the rest: an item that is there is left unchanged.

    Attributes:
        id_: the item.
        created: how many items the call put.
        existed: how many items had an id that was there already.
        error: why the item was not put, or the error in its answer.
    """

    id_: str
    created: int
    existed: int
    error: PerdureError

    def _text(self) -> str:
        done = f"{self.created} new and {self.existed} known items"
        return f"put_many stopped at item {excerpt(self.id_)} after {done}: {self.error}; repeat it with all items"


@attrs.frozen(repr=False)
class OutcomeUnknown(PerdureError):
    """The request may or may not have been applied. Repeat it with the same idempotency key to learn which."""

    reason: str

    def _text(self) -> str:
        return f"the outcome is unknown: {self.reason}; repeat the request with its idempotency key"


class StoreError(PerdureError):
    """An error that a store returns when it cannot perform an operation."""


@attrs.frozen(repr=False)
class Conflict(StoreError):
    """The instance is not at the version that the transition expects. Nothing was written."""

    address: str

    def _text(self) -> str:
        return f"{self.address} changed before the commit; nothing was written"


@attrs.frozen(repr=False)
class StoreUnavailable(StoreError):
    """The storage failed. Nothing was written."""

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
        shared = ", unless each engine opens it with ?ownership=shared" if self.store.startswith("postgresql:") else ""
        return (
            f"{self.store} is owned by {self.owner}; stop that engine first, or call it with perdure.remote.connect: "
            f"a store has one owner at a time{shared}"
        )


@attrs.frozen(repr=False)
class StoreMissing(StoreError):
    """The store's file is missing or empty, and creating an empty store could hide a loss. Nothing was created.

    Attributes:
        store: the store.
        reason: why it is not created, and how to recover.
    """

    store: str
    reason: str

    def _text(self) -> str:
        return f"{self.store} was not created: {self.reason}"


@attrs.frozen(repr=False)
class OwnershipLost(StoreError):
    """This engine no longer owns the store. Nothing was written, and nothing will be: the engine stops.

    Attributes:
        store: the store.
        reason: the cause, and how to recover.
    """

    store: str
    reason: str

    def _text(self) -> str:
        return f"this engine no longer owns {self.store}: {self.reason}; nothing was written"


@attrs.frozen(repr=False)
class StoreTooNew(StoreError):
    """A newer version of the library wrote the store."""

    store: str
    found: int
    supported: int

    def _text(self) -> str:
        return (
            f"{self.store} has schema version {self.found}, this library reads up to {self.supported}; "
            "upgrade perdure, or open it with the version that wrote it"
        )


@attrs.frozen(repr=False)
class StoreCorrupt(StoreError):
    """A stored row is not valid. The other rows are unaffected."""

    what: str
    reason: str

    def _text(self) -> str:
        return f"{self.what} cannot be read: {self.reason}"


@attrs.frozen(repr=False)
class BackupFailed(StoreError):
    """No backup was made. Its path is as it was before, and the store continues to work.

    Attributes:
        path: the backup's path.
        reason: the cause, and how to fix it.
    """

    path: str
    reason: str

    def _text(self) -> str:
        return f"no file was written to {self.path}: {self.reason}"


@attrs.frozen(repr=False)
class CopyFailed(StoreError):
    """A store was not copied, for this reason. The source is unchanged. The target does not open as a store."""

    target: str
    reason: str

    def _text(self) -> str:
        return f"nothing was copied to {self.target}: {self.reason}"
