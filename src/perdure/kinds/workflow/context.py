"""The context that a workflow's program receives, and the definition as its turns and runs use it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Never, TypeAlias, TypeVar, cast

from perdure.codecs import Codec
from perdure.jobs.context import READ_STATE, EndInstance, SetState, UpdateState
from perdure.jobs.definition import Definition, H_co, R_contra, T_co
from perdure.kinds.workflow.instructions import StartOver, StateQuery, Update
from perdure.programs import Program, halt, now, perform
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
        received: the codecs of signals and updates, by the names under which they are stored.
        queries: the queries, by name, with the codecs of their answers.
        results: the value's codec.
        keep_ms: how long its end is kept. None for ever.
        max_steps: the journal's limit.
        inbox: how many signals wait at most.
    """

    __slots__ = ()
    signals: Mapping[str, Codec[Any]]
    updates: Mapping[str, Update[Any, Any, Any]]
    received: Mapping[str, Codec[Any]]
    queries: Mapping[str, tuple[StateQuery[Any, Any, Any], Codec[Any]]]
    results: Codec[Any]
    keep_ms: int | None
    max_steps: int
    inbox: int

    @abstractmethod
    def main(self, instance: Instance) -> Program[Any, Any, Any]:
        """Return the workflow's own program."""


AnyWorkflow: TypeAlias = WorkflowDefinition[Any, Any, Any]
"""A workflow of any types."""
