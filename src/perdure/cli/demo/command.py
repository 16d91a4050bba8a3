"""``perdure demo``: five jobs on a real file, a crash in the middle, and a proof.

Its events come from a file of the user, or from the one that ships with the package.
"""

from __future__ import annotations

import asyncio
import sys
from importlib.resources import as_file, files
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Annotated, TextIO

import attrs
from cyclopts import Parameter
from rich.console import Console

from perdure.cli.demo.schedule import USUAL_SECONDS, Timing
from perdure.cli.demo.screen import LiveScreen, PlainScreen, Screen
from perdure.cli.demo.services import SERVICES, journal_path
from perdure.cli.demo.story import DemoStuck, Plot, run
from perdure.cli.process import ExitCode, UsageError
from perdure.examples.incoming import Incoming, Malformed, read_incoming

SHIPPED = "events.jsonl"


@attrs.frozen
class Source:
    """Events, and invalid lines.

    Attributes:
        name: the file's name in messages.
        events: in the order of the file.
        malformed: the lines to skip.
    """

    name: str
    events: tuple[Incoming, ...]
    malformed: tuple[Malformed, ...]


def read_source(path: Path | None) -> Source:
    """Read a file of events; None: the one that ships with the package.

    Raises:
        UsageError: it cannot be read, or contains no event.
    """
    if path is None:
        with as_file(files("perdure.examples") / SHIPPED) as shipped:
            return _read(shipped, "the file that ships with perdure")
    return _read(path, str(path))


def _read(path: Path, name: str) -> Source:
    try:
        with path.open("rb") as file:
            found = tuple(read_incoming(file))
    except OSError as error:
        raise UsageError(f"--events {name} cannot be read: {error.strerror or error}") from error
    malformed = tuple(each for each in found if isinstance(each, Malformed))
    events = tuple(each for each in found if not isinstance(each, Malformed))
    if not events:
        first = f"; line {malformed[0].line}: {malformed[0].problem}" if malformed else ""
        raise UsageError(f"--events {name} contains no event{first}; `perdure demo --help` shows the format")
    return Source(name, events, malformed)


MIN_SECONDS, MAX_SECONDS = 2.0, 3600.0
MAX_SHOWN_PROBLEMS = 10
TITLE = "perdure demo: five jobs, one SQLite file, and a process that is killed half-way"


def demo(
    *,
    events: Path | None = None,
    store: Path | None = None,
    keep: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    seconds: float = USUAL_SECONDS,
    seed: int = 1,
) -> int:
    """Run five jobs on real events, kill their process half-way, and prove that nothing was lost.

    A worker process owns a SQLite file and runs a token refresher, a webhook batcher, an order processor, a worker pool
    and a workflow, against services that fail now and then. It is killed with SIGKILL in the middle of its work and
    started again. The proof compares the acknowledged events with the journals of the services, which are files next to
    the store.

    Events are read from a file with one JSON object a line:

    * `{"type": "webhook", "id": "evt_1", "contact": "ada", "kind": "invoice.paid", "payload": {"any": "JSON"}}`
    * `{"type": "order", "id": "evt_2", "order": "order-7", "event": EVENT}`, where `EVENT` is one of
        * `{"type": "placed", "owner": "ada@example.com", "amount": 4990}`, the amount in cents
        * `{"type": "paid", "amount": 4990}`
        * `{"type": "shipped", "tracking": "1Z9"}`
        * `{"type": "delivered"}`
        * `{"type": "cancelled", "reason": "too late"}`

    A repeated id is the same event, sent again. Invalid lines are reported and skipped.

    Exit code: 0 the proof holds, 1 it does not, 2 the demo cannot start.

    Parameters
    ----------
    events
        A file of events; by default one that ships with perdure.
    store
        A new SQLite file, which is kept; by default a temporary one.
    keep
            Keep the temporary file, and the journals of the services next to it.
    seconds
        About how long the demo takes, 2 to 3600.
    seed
            Seed for simulated service failures.
    """
    source = read_source(events)
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise UsageError(f"--seconds {seconds:g} is out of range; pass {MIN_SECONDS:g} to {MAX_SECONDS:g}")
    path = _new_store(store)
    plot = Plot(store=path, source=source.name, events=source.events, timing=Timing(seconds), seed=seed)
    code = perform(plot, source.malformed, screen_for(sys.stdout))
    if store is not None or keep or code is ExitCode.FAILED:
        sys.stdout.write(f"Kept: {path}, and next to it the journals of the services and the worker's log.\n")
    else:
        rmtree(path.parent)
    return code


def perform(plot: Plot, malformed: tuple[Malformed, ...], screen: Screen) -> ExitCode:
    """Run a demo with a screen, and return its exit code."""
    try:
        screen.title(TITLE)
        _report(malformed, screen)
        proof = asyncio.run(run(plot, screen))
    except DemoStuck as stuck:
        screen.close()
        sys.stderr.write(f"perdure: the demo cannot continue: {stuck.what}\n")
        return ExitCode.FAILED
    except KeyboardInterrupt:
        screen.close()
        sys.stderr.write("perdure: interrupted; the worker was ended\n")
        return ExitCode.INTERRUPTED
    finally:
        screen.close()
    screen.prove(proof)
    return ExitCode.DONE if proof.holds else ExitCode.FAILED


def screen_for(out: TextIO) -> Screen:
    """Return a live table for a terminal, and plain lines for any other output."""
    console = Console(file=out, highlight=False)
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveScreen(console)
    return PlainScreen(out)


def _report(malformed: tuple[Malformed, ...], screen: Screen) -> None:
    for each in malformed[:MAX_SHOWN_PROBLEMS]:
        screen.step(0, "skipped", f"line {each.line}: {each.problem}")
    if len(malformed) > MAX_SHOWN_PROBLEMS:
        screen.step(0, "skipped", f"{len(malformed) - MAX_SHOWN_PROBLEMS} more invalid lines")


def _new_store(path: Path | None) -> Path:
    if path is None:
        return Path(mkdtemp(prefix="perdure-demo-")) / "jobs.db"
    taken = [beside for beside in (path, *_journals(path)) if beside.exists()]
    if taken:
        raise UsageError(f"--store {path}: {taken[0]} exists; the demo needs a new file: pass another name")
    if not path.parent.is_dir():
        raise UsageError(f"--store {path}: the folder {path.parent} does not exist; create it first")
    return path


def _journals(path: Path) -> tuple[Path, ...]:
    return tuple(Path(journal_path(str(path), service)) for service in SERVICES)
