"""``perdure health``: the health of a running engine."""

from __future__ import annotations

from perdure.cli.exit_code import ExitCode
from perdure.cli.json_lines import JsonOption, write_json
from perdure.cli.size import shown
from perdure.cli.styled_lines import write_styled_lines
from perdure.cli.target.opening import open_target
from perdure.cli.target.options import UNSET, TargetOptions
from perdure.wire.records import data_of


def health(*, target: TargetOptions = UNSET, json: JsonOption = False) -> int:
    """Report the health of a running engine, for supervisors and containers.

    Exit code: 0 it works, also with a problem that it reports (degraded); 1 its store failed; 2 the command cannot
    start; 4 no engine answers.
    """
    with open_target(target) as found:
        report = found.health()
    if json:
        write_json([data_of(report)])
    else:
        lines = [f"{report.state}  {report.detail}".rstrip()]
        if report.max_cache_bytes:
            lines.append(f"cache  {shown(report.cache_bytes)} of {shown(report.max_cache_bytes)}")
        write_styled_lines(lines)
    return ExitCode.FAILED if report.state == "failed" else ExitCode.DONE
