"""Messages to other jobs: programs that put a command into the turn's outbox."""

from __future__ import annotations

import sys
from typing import Any, TypeVar

from perdure.jobs.definition import Definition, check_definition
from perdure.jobs.operations import Post
from perdure.programs import Program, perform
from perdure.values.address import check_id

T = TypeVar("T")


def tell(definition: Definition[Any, T, Any], id_: str, /) -> T:
    """Address another instance, to send it a command with the commit of this turn.

    ``yield from tell(order_processor, "order-1").send(event)``: a failed run sends no message. After the commit it is
    delivered in order and applied exactly once within one store. The sender receives no result; a rejection is recorded
    in its history.

    Args:
        definition: the target's job; an instance may send to itself.
        id_: the target's id.

    Raises:
        DefinitionError: the first argument is not a definition.
        InvalidId: the id is invalid.
    """
    target = check_definition(definition).address(check_id(id_))

    def post(action: str, value: object = None) -> Program[None]:
        payload = definition.encode_input(action, value, sys.maxsize)  # the draft checks the engine's limit
        return perform(Post(target, action, payload))

    return definition.sender(post)
