"""The context that a workflow's program receives, and the definition as its turns and runs use it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Never, TypeAlias, TypeVar, cast

from perdure.codecs import Codec
from perdure.jobs.context import READ_STATE, EndInstance, SetState, UpdateState
from perdure.jobs.definition import Definition, H_co, R_contra, T_co
from perdure.jobs.request import CommandSpec
from perdure.kinds.workflow.commands import (
    AskQuery,
    AskUpdate,
    PromiseSettled,
    QueryAnswer,
    SendUpdate,
    SettlePromise,
    UpdateCall,
    UpdateSent,
)
from perdure.kinds.workflow.instructions import Broken, Fulfilled, Promise, StartOver, StateQuery, Update
from perdure.programs import Program, halt, now, perform
from perdure.values.address import Address
from perdure.values.excerpt import excerpt
from perdure.values.frozen import frozen
from perdure.values.times import from_ms

if TYPE_CHECKING:
    from perdure.values.instance import Instance


S = TypeVar("S")


@frozen(repr=False)
class WorkflowContext(Generic[S]):
    """The context that a workflow's program receives: only data that is the same in every replay.

    Attributes:
        id: the instance's id.
        job: the job's name.
        run_id: this workflow's id, the same over all its runs. `start_over` makes a new one.
    """

    id: str
    job: str
    run_id: str
    _started_ms: int
    _forked_from: str | None = None
    _parent: str | None = None

    def __repr__(self) -> str:
        return f"<WorkflowContext of {excerpt(self.job)}:{excerpt(self.id)}>"

    @property
    def started_at(self) -> datetime:
        """When the workflow was started."""
        return from_ms(self._started_ms)

    @property
    def address(self) -> Address:
        """This workflow's address, such as for `Promise.id_of`."""
        return Address("workflow", self.job, self.id)

    @property
    def parent(self) -> str | None:
        """The workflow that called this one as its child, printed ``kind:name:id``, or None."""
        return self._parent

    @property
    def forked_from(self) -> str | None:
        """The workflow that this one was forked from, printed ``kind:name:id``, or None.

        Its later steps may have been performed before, by that workflow. The kept steps replay with this value, too: a
        program that branches on it before them cannot be forked there.
        """
        return self._forked_from

    @property
    def now(self) -> Program[datetime]:
        """Read the workflow's clock: the last answer's instant, the same in every replay."""
        return now()

    @property
    def state(self) -> Program[S]:
        """Read the state: the one that the workflow was started with, until the program sets another."""
        return READ_STATE

    def set_state(self, state: S) -> Program[None]:
        """Set the state, which ``get_state`` returns from the next commit on."""
        return perform(SetState(state))

    def update_state(self, function: Callable[[S], S]) -> Program[None]:
        """Replace the state with the function's result."""
        return perform(UpdateState(cast("Callable[[object], object]", function)))

    def start_over(self, state: S) -> Program[Never]:
        """End here, and start again with this state and an empty journal.

        The id, the parent and the signals that were not received stay. Children that run are not awaited.
        """
        return halt(StartOver(state))

    def terminate(self, reason: str = "terminated") -> Program[Never]:
        """End here, and purge the instance with its journal. No outcome is kept."""
        return halt(EndInstance(reason))


class WorkflowDefinition(Definition[H_co, T_co, R_contra]):
    """A workflow's definition without its types, as its turns and its runs use it.

    Attributes:
        signals: the signals' codecs, by name.
        updates: the updates, by name.
        promises: the promises, by name.
        received: the codecs of signals and updates, by the names under which they are stored.
        queries: the queries, by name, with the codecs of their answers.
        results: the value's codec.
        keep_ms: how long its end is kept. None for ever.
        max_steps: the journal's limit.
        inbox: how many signals wait at most.
        concurrency: how many instances may be under way. None: any number.
    """

    __slots__ = ()
    signals: Mapping[str, Codec[Any]]
    updates: Mapping[str, Update[Any, Any, Any]]
    promises: Mapping[str, Promise[Any, Any]]
    received: Mapping[str, Codec[Any]]
    queries: Mapping[str, tuple[StateQuery[Any, Any, Any], Codec[Any]]]
    results: Codec[Any]
    keep_ms: int | None
    max_steps: int
    inbox: int
    concurrency: int | None

    @abstractmethod
    def main(self, instance: Instance) -> Program[Any, Any, Any]:
        """Return the workflow's own program."""


AnyWorkflow: TypeAlias = WorkflowDefinition[Any, Any, Any]
"""A workflow of any types."""


# ---------------------------------------------------------------- the commands of a definition
def update_commands(updates: Mapping[str, Update[Any, Any, Any]]) -> Iterator[CommandSpec[Any]]:
    """Yield the commands that send a definition's updates."""
    for update in updates.values():
        yield CommandSpec(
            name=f"update.{update.name}",
            command=partial(SendUpdate, update.name),
            input=update.values,
            stored=(),
            answer=UpdateSent,
        )
        yield CommandSpec(
            name=f"ask_update.{update.name}",
            command=partial(AskUpdate, update.name),
            input=Codec.of(cast("Any", UpdateCall)[update.value], what=f"call of update {update.name}"),
            stored=("value",),
            sender="instance",
            answer=UpdateSent,
        )


def promise_commands(promises: Mapping[str, Promise[Any, Any]]) -> Iterator[CommandSpec[Any]]:
    """Yield the commands that settle a definition's promises."""
    for promise in promises.values():
        yield CommandSpec(
            name=f"complete.{promise.name}",
            command=partial(_completed, promise.name),
            input=promise.values,
            answer=PromiseSettled,
        )
        if promise.errors is not None:
            yield CommandSpec(
                name=f"fail.{promise.name}",
                command=partial(_broken, promise.name),
                input=promise.errors,
                answer=PromiseSettled,
            )


def _completed(name: str, value: Any) -> SettlePromise:
    return SettlePromise(name, Fulfilled(value))


def _broken(name: str, error: Any) -> SettlePromise:
    return SettlePromise(name, Broken(error))


def query_commands(
    queries: Mapping[str, tuple[StateQuery[Any, Any, Any], Codec[Any]]], tags: Mapping[type, str] | None, name: str
) -> Iterator[CommandSpec[Any]]:
    """Yield the commands that ask a definition's queries."""
    for query, _ in queries.values():
        yield CommandSpec(
            name=f"query.{query.name}",
            command=partial(AskQuery, query.name),
            input=Codec.of(
                query.value, what=f"query {query.name} of workflow:{name}", tags=tags, ignores_other_tags=True
            ),
            answer=QueryAnswer,
            repeat="reads",
        )
