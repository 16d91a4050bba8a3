"""``perdure terminate`` and ``clear``: delete instances, or the events of a batch."""

from __future__ import annotations

from typing import Annotated

import orjson
from cyclopts import Parameter

from perdure.cli.confirmation import ASK, ConfirmOptions
from perdure.cli.instances.change_many import Change, Selection, change_many
from perdure.cli.instances.filters import ALL, FilterOptions
from perdure.cli.instances.selection import EveryOption
from perdure.cli.json_lines import JsonOption
from perdure.cli.target.options import UNSET, TargetOptions
from perdure.cli.target.target import Ask, Target
from perdure.values.address import Address


def terminate(
    *addresses: Annotated[str, Parameter(name="ADDRESS")],
    target: TargetOptions = UNSET,
    wanted: FilterOptions = ALL,
    every: EveryOption = False,
    reason: str = "terminated",
    interrupt: Annotated[bool, Parameter(negative="")] = False,
    confirm: ConfirmOptions = ASK,
    json: JsonOption = False,
) -> int:
    """Delete instances and their alarms, after a question. Their history stays until retention.

    Exit code: 0 done, 2 the command cannot start, 3 some were not terminated, 4 no engine answers, 5 unknown, 130 you
    answered no.

    Parameters
    ----------
    addresses
        The instances, each written kind:name:id.
    reason
        Recorded in the history.
    interrupt
        Cancel a run in progress; otherwise the command waits for its end.
    """

    def ask_of(_: Target, address: Address) -> Ask:
        return Ask(address=address, action="terminate", payload=orjson.dumps(reason).decode(), interrupt=interrupt)

    selection = Selection(addresses=addresses, wanted=wanted, every=every, confirm=confirm)
    return change_many(Change(verb="terminate", ask_of=ask_of, is_destructive=True), selection, target, json=json)


def clear(
    *addresses: Annotated[str, Parameter(name="ADDRESS")],
    target: TargetOptions = UNSET,
    wanted: FilterOptions = ALL,
    every: EveryOption = False,
    confirm: ConfirmOptions = ASK,
    json: JsonOption = False,
) -> int:
    """Discard the batches of debounces that are not being flushed, after a question.

    Exit code: 0 done, 2 the command cannot start, 3 some had no batch, 4 no engine answers, 5 unknown, 130 you answered
    no.

    Parameters
    ----------
    addresses
        The instances, each written kind:name:id.
    """
    selection = Selection(addresses=addresses, wanted=wanted, every=every, confirm=confirm)
    return change_many(Change(verb="clear", ask_of=_clear, is_destructive=True), selection, target, json=json)


def _clear(_: Target, address: Address) -> Ask:
    return Ask(address=address, action="clear")
