"""The instructions that only a workflow can perform, the functions that make programs from them, and signals.

`saga` undoes a program's steps when its rest does not succeed, the last first.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Generic,
    Literal,
    Never,
    ParamSpec,
    TypeAlias,
    TypeVar,
    cast,
    overload,
)

import attrs
from returns.result import Failure, Success
from typing_extensions import TypeForm
from typing_extensions import TypeVar as DefaultTypeVar

from perdure.codecs import Codec, Opened
from perdure.jobs.hooks import error_of, value_of
from perdure.programs import Do, Instruction, Program, perform, program
from perdure.programs.constructors import STEP_NAME, Uninterrupted, step_name
from perdure.values.address import MAX_ID_CHARACTERS, Address, check_name, is_text
from perdure.values.errors import DefinitionError, InvalidArgument, NotPublished
from perdure.values.excerpt import fields_in_line
from perdure.values.frozen import frozen
from perdure.values.retry import Retry
from perdure.values.status import Defect

if TYPE_CHECKING:
    from perdure.jobs.definition import AnyDefinition


A = TypeVar("A")
E = TypeVar("E")
R = TypeVar("R")
P = ParamSpec("P")

WhenCancelled: TypeAlias = Literal["cancel", "leave"]
"""Whether a child is cancelled, or left running, when its caller no longer waits for it."""


StepWhenCancelled: TypeAlias = Literal["end", "interrupt"]
"""Whether a step in progress ends first, or is stopped, when its workflow is cancelled."""


@frozen
class Receive(Instruction[Any, Never]):
    """Wait for a name's next signal, or for its next update, with the update's number.

    Attributes:
        is_update: whether it is that of an update.
        key: the key of a signal that is sent by key.
    """

    __repr__ = fields_in_line

    name: str
    is_update: bool = False
    key: str | None = None

    @property
    def declared(self) -> str:
        """The name under which the definition has the codec."""
        return update_signal(self.name) if self.is_update else self.name

    @property
    def stored(self) -> str:
        """The name under which the signal or update is stored."""
        return self.declared if self.key is None else signal_of_key(self.name, self.key)


def signal_of_key(name: str, key: str) -> str:
    """Return the name under which a signal that is sent by key is stored."""
    return f"{name}:{key}"


def update_signal(name: str) -> str:
    """Return the name under which an update is stored. No signal of a definition has a colon."""
    return f"update:{name}"


@frozen
class OneStep(Instruction[Any, Any]):
    """Run a program as one step.

    Attributes:
        make: returns the program, when the step is performed.
        is_keyed: whether `make` receives the step's key.
        args: the function's arguments, for comparison.
        errors: the typed errors' codec. None if it has none.
        retry: the retry policy for its defects. None: the definition's.
        when_cancelled: whether it ends first, or is stopped, when its workflow is cancelled.
    """

    __repr__ = fields_in_line

    name: str
    make: Callable[..., Program[Any, Any, Any]] = attrs.field(eq=False)
    args: tuple[Any, ...]
    values: Codec[Any] = attrs.field(eq=False)
    errors: Codec[Any] | None = attrs.field(eq=False)
    retry: Retry[Any] | None = attrs.field(default=None, eq=False)
    when_cancelled: StepWhenCancelled = attrs.field(default="end", eq=False)
    is_keyed: bool = attrs.field(default=False, eq=False)


@frozen
class Patched(Instruction[bool, Never]):
    """Read whether the workflow passes here with the changed code."""

    __repr__ = fields_in_line

    name: str


@frozen
class StepKey(Instruction[str, Never]):
    """Read the next step's key."""


@frozen
class CallChild(Instruction[Any, Any]):
    """Start another workflow and wait for its end.

    Attributes:
        when_cancelled: whether the child is cancelled when the caller no longer waits.
    """

    __repr__ = fields_in_line

    job: AnyDefinition = attrs.field(eq=False)
    id: str
    state: Any  # of the child's own type
    when_cancelled: WhenCancelled


@frozen
class AskInstance(Instruction[Any, Any]):
    """Send a request to another instance, and wait for the answer, which arrives as the end of a child does.

    Attributes:
        wants: what for: see `Watcher`. Or ``update NAME``.
        opened: returns the answer from its form and its value. It raises `InvalidInput`.
        asked: the value of an update, with its codec. None for another request.
    """

    __repr__ = fields_in_line

    target: Address
    wants: str
    opened: Callable[[str, str, Callable[[Opened[Any]], Any]], Success[Any] | Failure[Any]] = attrs.field(eq=False)
    asked: tuple[Codec[Any], Any] | None = attrs.field(default=None, eq=False)


@frozen
class Publish(Instruction[None, Never]):
    """Publish a value under a name."""

    __repr__ = fields_in_line

    published: Published[Any] = attrs.field(eq=False)
    value: Any  # of the declared type


# ---------------------------------------------------------------- signals of halts
@frozen
class StartOver:
    """The halt signal with which ``ctx.start_over`` ends the program."""

    __repr__ = fields_in_line

    state: object


@frozen
class WorkflowCancelled:
    """The signal that halts a cancelled workflow: finalizers and compensations run."""

    __repr__ = fields_in_line

    reason: str


@frozen
class BranchDropped:
    """The signal that halts a branch when its fork's outcome is decided."""


# ---------------------------------------------------------------- programs
@overload
def step(function: Callable[P, Program[A, E, R]], /) -> Callable[P, Program[A, E, R]]: ...
@overload
def step(
    *,
    name: str | None = None,
    retry_defects: Retry[Any] | None = None,
    when_cancelled: StepWhenCancelled = "end",
) -> Callable[[Callable[P, Program[A, E, R]]], Callable[P, Program[A, E, R]]]: ...
def step(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    retry_defects: Retry[Any] | None = None,
    when_cancelled: StepWhenCancelled = "end",
) -> Any:
    """Make each program that a function returns a single step in a workflow. Use it above `program`.

    The journal holds the step's outcome, and nothing from inside the step: several effects cost one commit, and after a
    crash inside the step all of them are performed again.

    Args:
        function: returns a program. Its annotation declares the value's type and the error's type.
        name: the name that the journal holds, as for `effect`. By default the function's. Write ``@step(name="pack")``.
        retry_defects: the durable retry if this step raises or times out, instead of the definition's.
        when_cancelled: ``end``: a cancellation of the workflow waits for this step. ``interrupt``: the engine stops it,
            as ``cancel(..., interrupt=True)`` stops every step. Its effects may have happened.

    Raises:
        DefinitionError: the name, the policy or ``when_cancelled`` is not valid. Or the annotation declares no types,
            or one that has no JSON form.
    """
    if name is not None:
        check_name(name, what="name of a step")
    if function is None:
        return partial(_step, name, retry_defects, when_cancelled)
    return _step(name, retry_defects, when_cancelled, function)


def check_retry_defects(retry: object, what: str) -> None:
    """Check a retry policy for defects.

    Raises:
        DefinitionError: it is not a policy, or it chooses typed errors.
    """
    if retry is None:
        return
    if not isinstance(retry, Retry):
        raise DefinitionError(f"retry_defects of {what}", retry, "Retry(max_attempts=..., delay=Backoff....) or None")
    if retry.retry_if is not None:  # pyright: ignore[reportUnknownMemberType] - of any type
        raise DefinitionError(
            f"retry_defects of {what}",
            "retry_if",
            "a Retry without retry_if: typed errors are values of the program, which retries them with .retry(...)",
        )


def _step(
    pinned: str | None,
    retry: Retry[Any] | None,
    when_cancelled: StepWhenCancelled,
    function: Callable[P, Program[A, E, R]],
) -> Callable[P, Program[A, E, R]]:
    name = step_name(function) if pinned is None else pinned
    check_retry_defects(retry, f"step {name}")
    if when_cancelled not in {"end", "interrupt"}:
        raise DefinitionError(f"when_cancelled of step {name}", when_cancelled, "'end' or 'interrupt'")
    value, error = value_of(function), error_of(function)
    # Refused when the module is imported: at run time, the effect would have happened before its outcome is found to
    # have no form.
    if value is Any or error is Any:
        raise DefinitionError(f"@step {name}", function, "an annotation such as -> Do[value, errors, services]")
    values: Codec[Any] = Codec.of(value, what=f"value of step {name}")  # type: ignore[arg-type] # a form
    errors: Codec[Any] | None = None
    if error is not Never:
        errors = Codec.of(error, what=f"error of step {name}")  # type: ignore[arg-type] # a form

    @wraps(function)
    def made(*args: P.args, **kwargs: P.kwargs) -> Program[A, E, R]:
        given = (*args, *kwargs.items())
        one: Program[Any, Any, Any] = perform(
            OneStep(name, partial(function, *args, **kwargs), given, values, errors, retry, when_cancelled)
        )
        return one

    setattr(made, STEP_NAME, name)
    return made


def patched(name: str) -> Program[bool]:
    """Return whether the workflow passes here with the changed code.

    False for a workflow whose journal continues beyond this place: it passed here with the code before the change.
    True for all others, and from then on for the same workflow.

    Args:
        name: names the change in the journal.
    """
    return perform(Patched(check_name(name, what="name of a patch")))


def step_key() -> Program[str]:
    """Return a key for the next step, as an idempotency key for external systems.

    The key is the same for the step's deliveries and attempts, and no other step has it.
    """
    return perform(StepKey())


V = TypeVar("V")
S = TypeVar("S")


@frozen
class SendReply(Instruction[None, Never]):
    """Answer an update. The reply is a row in the journal.

    Attributes:
        outcome: the value, or the typed error.
    """

    __repr__ = fields_in_line

    update: Update[Any, Any, Any] = attrs.field(eq=False)
    number: int
    outcome: Success[Any] | Failure[Any]


E_update = DefaultTypeVar("E_update", default=Never)


@frozen
class Update(Generic[V, A, E_update]):
    """A request that a workflow's program answers. Declare it once: the workflow answers it, and callers send it.

    Attributes:
        name: the update's name, which is stored: 1 to 128 printable characters, no ``:``.
        value: the request's type, such as ``Discount``.
        reply: the reply's type.
        error: the type of the typed errors that refuse it. By default there are none.
        validate: returns the typed error that refuses an update before it is stored, or None, from the committed state
            and the request. It must be pure: it runs in the turn, and calls no service.

    Raises:
        DefinitionError: the name, a type or the validator is not valid.
    """

    __repr__ = fields_in_line

    name: str
    value: TypeForm[V]
    reply: TypeForm[A]
    error: TypeForm[E_update] = cast("Any", Never)
    validate: Callable[[Any, V], E_update | None] | None = attrs.field(default=None, repr=False, eq=False, kw_only=True)
    values: Codec[Any] = attrs.field(init=False, repr=False, eq=False)
    replies: Codec[Any] = attrs.field(init=False, repr=False, eq=False)
    errors: Codec[Any] | None = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        check_name(self.name, what="name of an update")
        error: Any = self.error
        errors = None if error is Never else Codec.of(error, what=f"error of update {self.name}")
        if self.validate is not None and (errors is None or not callable(self.validate)):
            what = f"validate of update {self.name}"
            raise DefinitionError(what, self.validate, "a function of the state and the request, with an error type")
        object.__setattr__(self, "values", Codec.of(self.value, what=f"update {self.name}"))
        object.__setattr__(self, "replies", Codec.of(self.reply, what=f"reply to update {self.name}"))
        object.__setattr__(self, "errors", errors)

    def answer(
        self, handler: Callable[[V], Program[A, E_update, R]], /
    ) -> Program[Success[A] | Failure[E_update], Never, R]:
        """Wait for the next update, handle it, and send the reply with the handler's next commit.

        An update that arrived before is handled immediately, in arrival order. Each is handled once.

        Args:
            handler: returns the program that handles it, whose effects are steps. Its value is the reply, and its typed
                error refuses the update. The workflow continues in both cases.

        Returns:
            The program, which succeeds with the reply that was sent.
        """
        received: Program[tuple[int, Any]] = perform(Receive(self.name, is_update=True))
        answered: Program[Any, Any, Any] = received.bind(partial(_answered, self, handler))
        return answered

    def reply_of(
        self, address: Address, form: str, value: str, known: Callable[[Opened[Any]], Any]
    ) -> Success[A] | Failure[E_update | Defect]:
        """Return the reply that another workflow sent.

        Raises:
            InvalidInput: this code cannot decode it.
        """
        if form == "done":
            return Success(known(self.replies.open(value.encode())))
        if form in {"failed", "refused"} and self.errors is not None:
            return Failure(known(self.errors.open(value.encode())))
        return Failure(unanswered(address, f"did not answer the update {self.name!r}", form))


_REASONS: Final = {
    "absent": "it was never stored, or is no longer kept",
    "ended": "it has ended",
    "full": "too many workflows wait for it already",
    "too large": "its value is larger than input_bytes, or is no longer kept; read it where it is stored",
}


def unanswered(address: Address, what: str, form: str) -> Defect:
    """Return the error of a request that another workflow does not answer.

    Args:
        address: that workflow.
        what: the action that it did not perform.
        form: why: ``absent``, ``ended``, ``full``, or another reason.
    """
    return Defect("Unanswered", f"{address} {what}: {_REASONS.get(form, form)}")


def _answered(update: Update[Any, Any, Any], handler: Callable[[Any], Any], asked: tuple[int, Any]) -> Any:
    number, value = asked

    def send(outcome: Success[Any] | Failure[Any]) -> Program[Any]:
        return perform(SendReply(update, number, outcome)).map(lambda _: outcome)

    return handler(value).attempt().bind(send)


@frozen
class StateQuery(Generic[S, V, A]):
    """A question about a workflow's state. Declare it once: the workflow answers it, and callers send it.

    Attributes:
        name: the query's name: 1 to 128 printable characters, no ``:``.
        value: the question's type, such as ``str``.
        reply: the answer's type.
        read: computes the answer from the committed state and the question. It must be pure: it runs in the turn, and
            calls no service.

    Raises:
        DefinitionError: the name is not valid, or ``read`` is not a function.
    """

    __repr__ = fields_in_line

    name: str
    value: TypeForm[V]
    reply: TypeForm[A]
    read: Callable[[S, V], A] = attrs.field(eq=False)

    def __attrs_post_init__(self) -> None:
        check_name(self.name, what="name of a query")
        if not callable(self.read):
            raise DefinitionError(f"read of query {self.name}", self.read, "a function of the state and the question")


@frozen
class Published(Generic[V]):
    """A value that a workflow publishes while it runs. Declare it once: the workflow publishes it, and others wait.

    Attributes:
        name: the value's name, which is stored: 1 to 128 printable characters, no ``:``.
        value: the value's type, such as ``str``.

    Raises:
        DefinitionError: the name or the type is not valid.
    """

    __repr__ = fields_in_line

    name: str
    value: TypeForm[V]
    values: Codec[Any] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        check_name(self.name, what="name of a published value")
        object.__setattr__(self, "values", Codec.of(self.value, what=f"published value {self.name}"))

    def publish(self, value: V, /) -> Program[None]:
        """Publish a value with the next commit. Callers that wait receive it, and later ones as long as it is kept.

        A second value under the name replaces the first one.

        Args:
            value: the value, with at most 4,000 bytes as JSON.
        """
        return perform(Publish(self, value))

    def answer_of(
        self, address: Address, form: str, value: str, known: Callable[[Opened[Any]], Any]
    ) -> Success[V] | Failure[NotPublished]:
        """Return the answer of a wait for this value.

        Raises:
            InvalidInput: this code cannot decode it.
        """
        if form == "published":
            return Success(known(self.values.open(value.encode())))
        return Failure(NotPublished(str(address), self.name, form))


@frozen
class Fulfilled(Generic[V]):
    """A promise was completed.

    Attributes:
        value: the value.
    """

    __repr__ = fields_in_line

    value: V


@frozen
class Broken(Generic[E]):
    """A promise failed.

    Attributes:
        error: the typed error. None if its declaration has no errors.
    """

    __repr__ = fields_in_line

    error: E


@frozen(kw_only=True)
class Settlement(Generic[V, E]):
    """The result that ``complete`` and ``fail`` return: the promise's only outcome.

    Attributes:
        accepted: whether it is the outcome of this request. False: an earlier one has settled the promise.
        outcome: the outcome.
    """

    accepted: bool
    outcome: Fulfilled[V] | Broken[E]


@frozen
class AwaitPromise(Instruction[Any, Any]):
    """Wait until a promise is settled."""

    __repr__ = fields_in_line

    promise: Promise[Any, Any] = attrs.field(eq=False)


@frozen
class Promise(Generic[V, E_update]):
    """One outcome that a workflow waits for, and that others set exactly once.

    Attributes:
        name: the promise's name, which is stored: 1 to 128 printable characters, no ``:`` or ``/``.
        value: the value's type, such as ``Receipt``.
        error: the type of the typed errors with which it may fail. By default there are none.

    Raises:
        DefinitionError: the name or a type is not valid.
    """

    __repr__ = fields_in_line

    name: str
    value: TypeForm[V]
    error: TypeForm[E_update] = cast("Any", Never)
    values: Codec[Any] = attrs.field(init=False, repr=False, eq=False)
    errors: Codec[Any] | None = attrs.field(init=False, repr=False, eq=False)
    outcomes: Codec[Any] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        check_name(self.name, what="name of a promise")
        # `promise_of` splits an id at its last slash: ids of workflows may have some.
        if "/" in self.name:
            raise DefinitionError("name of a promise", self.name, "a name without '/'")
        value, error = cast("Any", self.value), cast("Any", self.error)
        both = cast("Any", Fulfilled)[value] | cast("Any", Broken)[None if error is Never else error]
        object.__setattr__(self, "values", Codec.of(value, what=f"value of promise {self.name}"))
        errors = None if error is Never else Codec.of(error, what=f"error of promise {self.name}")
        object.__setattr__(self, "errors", errors)
        object.__setattr__(self, "outcomes", Codec.of(both, what=f"outcome of promise {self.name}"))

    def wait(self) -> Program[V, E_update]:
        """Wait in the workflow until the promise is settled, as long as it takes. Each wait has the same outcome.

        With ``.timeout("7 days")`` the wait has a limit. The promise can be settled afterwards.

        Returns:
            The program, which succeeds with the value, or fails with the typed error.
        """
        found: Program[Any, Any] = perform(AwaitPromise(self))
        return found

    def id_of(self, workflow: Address) -> str:
        """Return the promise's id, to pass it on: ``workflow:orders:7/payment``. `promise_of` reads it."""
        return f"{workflow}/{self.name}"

    def answer_of(
        self, address: Address, form: str, value: str, known: Callable[[Opened[Any]], Any]
    ) -> Success[V] | Failure[E_update | NotPublished]:
        """Return the answer of a wait in another workflow.

        Raises:
            InvalidInput: this code cannot decode it.
        """
        if form == "published":
            return self.outcome_of(value, known)
        return Failure(NotPublished(str(address), self.name, form))

    def outcome_of(self, value: str, known: Callable[[Opened[Any]], Any]) -> Success[V] | Failure[E_update]:
        """Return a stored outcome as the outcome of a wait.

        Raises:
            InvalidInput: this code cannot decode it.
        """
        outcome: Fulfilled[V] | Broken[E_update] = known(self.outcomes.open(value.encode()))
        return Success(outcome.value) if isinstance(outcome, Fulfilled) else Failure(outcome.error)


@frozen(kw_only=True)
class KeyedValue(Generic[V]):
    """The ``signal.NAME`` input for a signal that is sent by key."""

    __repr__ = fields_in_line

    key: str
    value: V


@frozen
class Signal(Generic[V]):
    """A value that a workflow waits for. Declare it once: the workflow receives it, and callers send it.

    Attributes:
        name: the signal's name, which is stored: 1 to 128 printable characters, no ``:``.
        value: the value's type, such as ``Approval``.
        by_key: whether each is sent and received with a key that the program computes: see `for_key`.
        key: the key, if `for_key` returned it.

    Raises:
        DefinitionError: the name is not valid.
    """

    __repr__ = fields_in_line

    name: str
    value: TypeForm[V]
    by_key: bool = attrs.field(default=False, kw_only=True)
    key: str | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_name(self.name, what="name of a signal")
        # An update is stored as a signal whose name begins like this.
        if self.by_key and self.name == "update":
            raise DefinitionError("name of a signal by key", self.name, "another name")
        if self.key is not None and not (self.by_key and is_text(self.key, MAX_ID_CHARACTERS)):
            expected = f"text of 1 to {MAX_ID_CHARACTERS} characters, of a Signal(..., by_key=True)"
            raise DefinitionError(f"key of signal {self.name}", self.key, expected)

    def for_key(self, key: str) -> Signal[V]:
        """Return the signal with a key, such as ``approved.for_key(order)``, to receive it and to send it.

        Args:
            key: text of 1 to 512 characters.

        Raises:
            DefinitionError: the key is not valid, or the declaration has no ``by_key=True``.
        """
        return attrs.evolve(self, key=key)

    def sent(self, value: V) -> V | KeyedValue[V]:
        """Return the request's input: a value, with its key.

        Raises:
            InvalidArgument: the signal is sent by key, and has none.
        """
        if not self.by_key:
            return value
        if self.key is None:
            raise InvalidArgument("signal", self.name, f"{self.name}.for_key(key): it is sent by key")
        return KeyedValue(key=self.key, value=value)

    def receive(self) -> Program[V]:
        """Wait for this name's next signal, as long as it takes.

        A signal that arrived before is received immediately, in arrival order. Each is received once. With
        ``.timeout("7 days")`` the wait has a limit, which restarts do not move.

        Raises:
            DefinitionError: it is sent by key, and has none.
        """
        if self.by_key and self.key is None:
            raise DefinitionError(f"receive of signal {self.name}", None, "signal.for_key(key).receive()")
        return perform(Receive(self.name, key=self.key))


@attrs.define(eq=False)
class Undo(Generic[R]):
    """Collects a `saga`'s compensations."""

    _stack: list[Callable[[], Program[Any, Any, R]]] = attrs.field(factory=list[Any], repr=False)

    def after(
        self,
        done: Program[A, E, R],
        undo: Callable[[A], Program[object, Any, R]],
        *,
        unknown: Callable[[], Program[object, Any, R]] | None = None,
    ) -> Program[A, E, R]:
        """Return a program that does something, and remembers how to undo it.

        Without `unknown`, a workflow waits for steps in `done` that are in progress before it halts there: a
        cancellation, a race and a time limit around it stop none of them half-way.

        Args:
            done: the program. If it does not succeed, there is nothing to undo.
            undo: returns the compensation for its value.
            unknown: returns the compensation if a step in `done` began and its outcome is not known, because it was
                stopped, or raised and was not repeated. If a later attempt succeeds, both compensations run.
        """
        forgotten = None if unknown is None else partial(self._stack.append, unknown)
        mark: Uninterrupted[A, A] = Uninterrupted(lambda value: self._remember(value, undo), forgotten)
        return done.map(mark)

    def _remember(self, value: A, undo: Callable[[A], Program[object, Any, R]]) -> A:
        self._stack.append(lambda: undo(value))
        return value

    def last_first(self) -> list[Program[Any, Any, R]]:
        """Return the compensations, the last first. `saga` performs them."""
        # The reverse order: a later step may depend on the effect of an earlier one.
        return [make() for make in self._stack[::-1]]


def saga(
    body: Callable[Concatenate[Undo[R], P], Program[A, E, R]], *args: P.args, **kwargs: P.kwargs
) -> Program[A, E, R]:
    """Run a program. When it fails, halts or is cancelled, undo its steps, the last first.

    In a workflow each compensation is a step: recorded, performed again after a crash, and retried when it raises. A
    compensation that fails with a typed error raises it as a defect. A defect in the program itself undoes nothing: the
    workflow is parked there, and can continue.

    Args:
        body: takes the `Undo` first, then the arguments.
        args: the body's other arguments.
        kwargs: the body's keyword arguments.

    Raises:
        DefinitionError: the body is not a function.
    """
    if not callable(body):
        raise DefinitionError("body of saga", body, "a function of (undo, ...) that returns a Program")
    return _saga(lambda undo: body(undo, *args, **kwargs))


@program
def _saga(body: Callable[[Undo[R]], Program[A, E, R]]) -> Do[A, E, R]:
    undo: Undo[R] = Undo()
    undoes = False
    try:
        undoes = True
        value = yield from body(undo)
        undoes = False
    # Not an error value: those and halts come by `finally`, with `undoes` still set.
    except (Exception, GeneratorExit):  # a defect, or the end of the run: nothing is undone
        undoes = False
        raise
    finally:
        if undoes:
            for compensation in undo.last_first():
                yield from compensation.or_raise()
    return value
