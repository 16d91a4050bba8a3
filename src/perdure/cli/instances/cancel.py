"""``perdure cancel``: cancel workflows, and items of pools that wait."""

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


def cancel(
    *addresses: Annotated[str, Parameter(name="ADDRESS")],
    target: TargetOptions = UNSET,
    wanted: FilterOptions = ALL,
    every: EveryOption = False,
    reason: str = "cancelled",
    interrupt: Annotated[bool, Parameter(negative="")] = False,
    confirm: ConfirmOptions = ASK,
    json: JsonOption = False,
) -> int:
    """Cancel workflows, whose compensations then run, and items of pools that wait. It asks first.

    Exit code: 0 done, 2 the command cannot start, 3 some were not cancelled, 4 no engine answers, 5 unknown, 130 you
    answered no.

    Parameters
    ----------
    addresses
        The instances, each written kind:name:id.
    reason
        Part of the outcome of a workflow. An item of a pool is deleted, and takes none.
    interrupt
        Stop the steps in progress of a workflow, whose effects may have happened; otherwise they end first.
    """

    def ask_of(_: Target, address: Address) -> Ask:
        given = {"reason": reason, "interrupt": True} if interrupt else reason
        payload = "" if address.kind == "pool" else orjson.dumps(given).decode()
        return Ask(address=address, action="cancel", payload=payload)

    selection = Selection(addresses=addresses, wanted=wanted, every=every, confirm=confirm)
    return change_many(Change(verb="cancel", ask_of=ask_of, is_destructive=True), selection, target, json=json)
