"""Messages to other jobs: programs that put a command into the outbox of this turn."""

from __future__ import annotations

import sys
from typing import Any, TypeVar

from perdure.jobs.definition import Definition, check_definition
from perdure.jobs.draft import Post
from perdure.programs import Program, perform
from perdure.values.address import check_id

T = TypeVar("T")


def tell(definition: Definition[Any, T, Any], id_: str, /) -> T:
    """Address another instance, to send it a command with the commit of this turn.

    ``yield from tell(order_processor, "order-1").send(event)``: the message is dropped with a failed draft, delivered
    after the commit, applied exactly once within one store, and in the order it was sent in. The answer does not come
    back; a rejection is in the history of the sender.

    Args:
        definition: the job to tell; an instance may tell itself.
        id_: the instance's id.

    Raises:
        DefinitionError: it is not a definition.
        InvalidId: the id is not usable.
    """
    target = check_definition(definition).address(check_id(id_))

    def post(action: str, value: object = None) -> Program[None]:
        payload = definition.encode_input(action, value, sys.maxsize)  # the draft knows the engine's limit
        return perform(Post(target, action, payload))

    return definition.sender(post)
