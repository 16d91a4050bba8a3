"""The requests that nothing is special about, which a kind decides in one step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from perdure.jobs.plain_event import PlainEvent
    from perdure.jobs.step import Commit, Execute
    from perdure.programs import Program
    from perdure.runtime.run_context import RunIdentity
    from perdure.values.instance import Instance
    from perdure.values.limits import Limits
    from perdure.values.turn_inputs import Decoded, TurnInputs


class PlainDecisions:
    """The part of a definition for such requests; by default there are none.

    Attributes:
        plain_event: the class of the command that is an event, if the kind begins to handle every event of an instance
            that is not suspended in the same way; None if it does not.
        plain_alarm: whether the kind begins every run of an alarm in the same way, of instances in lanes or of others.
    """

    __slots__ = ()
    plain_event: ClassVar[type | None] = None
    plain_alarm: ClassVar[Literal["none", "queued", "unqueued"]] = "none"

    def plain_first_state(self, limits: Limits) -> Decoded | None:
        """Return the state in which a plain event finds a new instance; None if code of the job returns it."""
        return None

    def event_program(self, instance: Instance, run: RunIdentity, command: object) -> Program[Any, Any, Any] | None:
        """Return the program of a plain event, as ``program`` does; None if more than a commit follows its success."""
        return None

    def plain_event_handled(self, event: PlainEvent, events: Literal["wanted", "unread"]) -> Commit | None:
        """Return the commit of a plain event that succeeded, if ``succeeded`` would return the same.

        Args:
            event: the event.
            events: whether the log keeps events or a sink reads them.
        """
        return None

    def plain_run_executed(self, execute: Execute, inputs: TurnInputs) -> Commit | None:
        """Return the commit of a plain run that succeeded, if ``succeeded`` would return the same."""
        return None
