"""Signals: typed values that a workflow waits for."""

from __future__ import annotations

from typing import Generic, TypeVar

from typing_extensions import TypeForm

from perdure.kinds.workflow.instructions import Receive
from perdure.programs import Program, perform
from perdure.values.address import check_name
from perdure.values.excerpt import fields_in_line
from perdure.values.frozen import frozen

V = TypeVar("V")


@frozen
class Signal(Generic[V]):
    """A value that a workflow waits for. Declare it once: the workflow receives it, and callers send it.

    Attributes:
        name: the name of the signal, part of stored data: 1 to 128 printable characters, no ``:``.
        value: the type of the value, such as ``Approval``.

    Raises:
        DefinitionError: the name is not valid.
    """

    __repr__ = fields_in_line

    name: str
    value: TypeForm[V]

    def __attrs_post_init__(self) -> None:
        check_name(self.name, what="name of a signal")

    def receive(self) -> Program[V]:
        """Wait for the next signal of this name, as long as it takes.

        A signal that arrived before is received at once, in the order of arrival; each is received once. With
        ``.timeout("7 days")`` the wait has a limit, which restarts do not move.
        """
        return perform(Receive(self.name))
