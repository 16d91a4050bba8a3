"""``perdure bench``: measure a disk, and an engine on it."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from perdure.cli.bench.measurement import Measurement, disk, engine
from perdure.cli.exit_code import ExitCode
from perdure.cli.json_lines import JsonOption, write_json
from perdure.cli.progress_line import line_on_stderr
from perdure.cli.standard_output import write_lines
from perdure.cli.usage_error import UsageError
from perdure.values.errors import StoreError

MIN_SECONDS, MAX_SECONDS = 0.05, 60.0
CLIENTS = (1, 64)


def bench(*, at: Path, seconds: float = 2.0, json: JsonOption = False) -> int:
    """Measure the disk of a folder and an engine on it: synced writes, and requests of 1 and of 64 clients.

    It writes a temporary folder and deletes it. The engine runs in this process with full durability; each request is
    one event of a job without effects.

    Exit code: 0 done, 2 the folder cannot be used.

    Parameters
    ----------
    at
        The folder: the one where your store is, or will be.
    seconds
        How long each of the three measurements takes, 0.05 to 60.
    """
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise UsageError(f"--seconds {seconds:g}: expected {MIN_SECONDS:g} to {MAX_SECONDS:g}")
    line = line_on_stderr()

    def show(measured: Measurement) -> None:
        line.clear()
        if json:
            write_json([attrs.asdict(measured)])
        else:
            write_lines([measured.line])
        sys.stdout.flush()

    try:
        with TemporaryDirectory(prefix="perdure-bench-", dir=at) as folder:
            line.show("measuring synced writes")
            show(disk(Path(folder), seconds))
            for clients in CLIENTS:
                line.show(f"measuring requests of {clients}")
                show(engine(Path(folder), seconds, clients))
    except (OSError, StoreError) as error:
        raise UsageError(f"--at {at}: {error}") from error
    finally:
        line.clear()
    return ExitCode.DONE
