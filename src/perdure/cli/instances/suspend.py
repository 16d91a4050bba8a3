"""``perdure pause`` and ``resume``: suspend alarms and retries of instances."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from perdure.cli.confirmation import ASK, ConfirmOptions
from perdure.cli.instances.change_many import Change, Selection, change_many
from perdure.cli.instances.filters import ALL, FilterOptions
from perdure.cli.instances.selection import EveryOption
from perdure.cli.json_lines import JsonOption
from perdure.cli.target.options import UNSET, TargetOptions
from perdure.cli.target.target import Ask, Target
from perdure.values.address import Address


def pause(
    *addresses: Annotated[str, Parameter(name="ADDRESS")],
    target: TargetOptions = UNSET,
    wanted: FilterOptions = ALL,
    every: EveryOption = False,
    confirm: ConfirmOptions = ASK,
    json: JsonOption = False,
) -> int:
    """Suspend alarms and retries of instances. Events are still handled.

    It asks before it pauses instances that a filter selects.

    Exit code: 0 done, 2 the command cannot start, 3 some were not paused, 4 no engine answers, 5 unknown, 130 you
    answered no.

    Parameters
    ----------
    addresses
        The instances, each written kind:name:id.
    """
    selection = Selection(addresses=addresses, wanted=wanted, every=every, confirm=confirm)
    return change_many(Change(verb="pause", ask_of=_pause), selection, target, json=json)


def resume(
    *addresses: Annotated[str, Parameter(name="ADDRESS")],
    target: TargetOptions = UNSET,
    wanted: FilterOptions = ALL,
    every: EveryOption = False,
    confirm: ConfirmOptions = ASK,
    json: JsonOption = False,
) -> int:
    """Resume paused or parked instances. An overdue alarm fires once.

    It asks before it resumes instances that a filter selects.

    Exit code: 0 done, 2 the command cannot start, 3 some were not resumed, 4 no engine answers, 5 unknown, 130 you
    answered no.

    Parameters
    ----------
    addresses
        The instances, each written kind:name:id.
    """
    selection = Selection(addresses=addresses, wanted=wanted, every=every, confirm=confirm)
    return change_many(Change(verb="resume", ask_of=_resume), selection, target, json=json)


def _pause(_: Target, address: Address) -> Ask:
    return Ask(address=address, action="pause")


def _resume(_: Target, address: Address) -> Ask:
    return Ask(address=address, action="resume")
