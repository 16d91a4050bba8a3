"""``perdure wait``: wait for the end or for a status of one instance."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, assert_never

import orjson
from cyclopts import Parameter

from perdure.cli.exit_code import ExitCode
from perdure.cli.instances.filters import address_of
from perdure.cli.instances.records import status_text
from perdure.cli.instances.requests import AddressArgument
from perdure.cli.json_lines import JsonOption, write_json
from perdure.cli.standard_output import write_lines
from perdure.cli.target.opening import open_target
from perdure.cli.target.options import NO_PLACE, PlaceOptions
from perdure.values.address import Address
from perdure.values.status import Status
from perdure.values.status_wait import Awaited, NeverStored, NotReached, Reached
from perdure.wire.records import awaited_json

AwaitedWord: TypeAlias = Literal["ended", "not_found", Status]
"""The words of `AwaitedStatus` as one literal, which a message about another word lists."""


def wait(
    address: AddressArgument,
    /,
    *,
    target: PlaceOptions = NO_PLACE,
    until: Annotated[tuple[AwaitedWord, ...], Parameter(consume_multiple=False, negative="")] = (),
    phase: Annotated[tuple[str, ...], Parameter(consume_multiple=False, negative="")] = (),
    timeout: str = "1 hour",
    json: JsonOption = False,
) -> int:
    """Wait until one instance ends, or has a status. It does not poll.

    Exit code: 0 it has; 1 not in time; 2 the command cannot start; 3 an end is wanted, and there has been no such
    instance; 4 no engine answers.

    Parameters
    ----------
    until
        The status to wait for, by default ended; repeat it to wait for one of several.
    phase
        How a workflow ended: done, failed or cancelled; dead of an item of a pool; or a phase of a kind of your own.
        Repeat it as well.
    timeout
        How long to wait, such as 30 seconds.
    """
    at = address_of(address)
    with open_target(target) as found:
        answer = found.until(at, until, phase, timeout)
    if json:
        write_json([orjson.loads(awaited_json(answer))])
    else:
        write_lines([_line(at, answer)])
    return _code(answer)


def _line(at: Address, answer: Awaited) -> str:
    match answer:
        case Reached(status) | NotReached(status):
            return f"{at} is {status_text(status.status.replace('_', ' '), status)}"
        case NeverStored():
            return f"there has been no instance {at}"
        case _:
            assert_never(answer)


def _code(answer: Awaited) -> ExitCode:
    match answer:
        case Reached():
            return ExitCode.DONE
        case NotReached():
            return ExitCode.FAILED
        case NeverStored():
            return ExitCode.REFUSED
        case _:
            assert_never(answer)
