"""``perdure members``: the engines that share a store."""

from __future__ import annotations

import sys

from perdure.cli.exit_code import ExitCode
from perdure.cli.instances.records import instant
from perdure.cli.json_lines import JsonOption, write_json
from perdure.cli.table import Table, write_table
from perdure.cli.target.opening import open_target
from perdure.cli.target.options import UNSET, TargetOptions
from perdure.values.listings import EngineMember
from perdure.wire.records import data_of


def members(*, target: TargetOptions = UNSET, json: JsonOption = False) -> int:
    """List the engines that share the store of a running engine. The engine of an owned store lists none.

    Exit code: 0 done, 2 the command cannot start, 4 no engine answers.
    """
    with open_target(target) as found:
        engines = found.members()
    if not engines:
        sys.stderr.write("perdure: no engines share this store: the one that answered owns it\n")
    if json:
        write_json([data_of(member) for member in engines])
    elif engines:
        columns = ("EPOCH", "PROCESS", "SINCE", "LEASE", "SHARE", "SERVES")
        write_table(Table(columns, tuple(map(_row, engines)), frozenset(("SERVES",))))
    return ExitCode.DONE


def _row(member: EngineMember) -> tuple[str, ...]:
    served = ", ".join(f"{job.kind}:{job.name} v{job.state_version}" for job in member.served)
    lease = f"{member.lease_left_ms / 1_000:.1f} s" if member.lease_left_ms >= 0 else "ended"
    return str(member.epoch), member.label, instant(member.joined), lease, f"{member.share:.0%}", served
