"""``perdure metrics``: the metrics of an engine."""

from __future__ import annotations

from perdure.cli.exit_code import ExitCode
from perdure.cli.standard_output import write_lines
from perdure.cli.target.opening import open_target
from perdure.cli.target.options import UNSET, TargetOptions


def metrics(*, target: TargetOptions = UNSET) -> int:
    """Print the metrics of a running engine, as its `/metrics` exposes them.

    Exit code: 0 done, 2 the command cannot start, 3 the engine counts none, 4 no engine answers.
    """
    with open_target(target) as found:
        write_lines(found.metrics().splitlines())
    return ExitCode.DONE
