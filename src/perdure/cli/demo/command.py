"""``perdure demo``: five jobs on a real file, a crash in the middle, and a proof.

Its steps are: feed, kill, restart, send again, settle, prove. The parent process starts a worker process, sends it
commands, and kills it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Annotated, TextIO, TypeVar, assert_never

import attrs
from cyclopts import Parameter
from rich.console import Console

from perdure.cli.demo.proof import Deliveries, Delivery, Evidence, Proof, evidence_beside, prove
from perdure.cli.demo.protocol import (
    ANSWERS,
    COMMANDS,
    Answer,
    Command,
    InspectStore,
    JobCounts,
    Ready,
    Seen,
    SendEvent,
    StartToken,
    StartWork,
    Stop,
)
from perdure.cli.demo.schedule import SETTLE_LIMIT_S, START_LIMIT_S, USUAL_SECONDS, Timing, expected_mails
from perdure.cli.demo.screen import LiveScreen, PlainScreen, Screen, View
from perdure.cli.demo.services import SERVICES, journal_path
from perdure.cli.demo.worker import MAX_LINE_BYTES
from perdure.cli.process import ExitCode, UsageError
from perdure.examples.incoming import Incoming, IncomingOrder, Malformed, read_incoming
from perdure.examples.order_processor import OrderPlaced
from perdure.stores.sqlite.files import open_private

T = TypeVar("T")

WORKER = (sys.executable, "-m", "perdure.cli.demo.worker")
"""The command that runs a worker. Its arguments follow."""

GRACE_S = 10.0
"""How long a worker may take to stop."""


@attrs.define(kw_only=True)
class Child:
    """One worker process.

    Attributes:
        process: the process. It has its own session, so that Ctrl-C reaches only its parent.
        ready: its message when the store is open. None when it ended before.
    """

    process: asyncio.subprocess.Process
    ready: asyncio.Future[Ready | None]
    _numbers: itertools.count[int] = attrs.Factory(itertools.count)
    _waiting: dict[int, asyncio.Future[Answer | None]] = attrs.Factory(dict[int, "asyncio.Future[Answer | None]"])
    _listener: asyncio.Task[None] | None = None

    def listen(self) -> None:
        """Start reading the worker's output."""
        self._listener = asyncio.create_task(self._listen(), name="answers of the worker")

    async def _listen(self) -> None:
        assert self.process.stdout is not None  # noqa: S101 - it was started with a pipe
        while line := await self.process.stdout.readline():
            self._take(ANSWERS.decode(line))
        _answer(self.ready, None)
        for future in self._waiting.values():
            _answer(future, None)

    def _take(self, answer: Answer | Ready) -> None:
        if isinstance(answer, Ready):
            _answer(self.ready, answer)
        else:
            _answer(self._waiting.pop(answer.number), answer)

    def ask(self, command: Callable[[int], Command]) -> asyncio.Future[Answer | None]:
        """Send a command.

        Args:
            command: returns the command with a given number.

        Returns:
            A future for its answer. The answer is None when the worker ends first.
        """
        number = next(self._numbers)
        future = asyncio.get_running_loop().create_future()
        if self.has_ended:
            future.set_result(None)
            return future
        self._waiting[number] = future
        self._write(command(number))
        return future

    def _write(self, command: Command) -> None:
        assert self.process.stdin is not None  # noqa: S101 - it was started with a pipe
        self.process.stdin.write(COMMANDS.encode(command) + b"\n")

    @property
    def has_ended(self) -> bool:
        """Return whether no further answer can arrive."""
        return self.process.returncode is not None or (self._listener is not None and self._listener.done())

    async def kill(self) -> None:
        """Kill the worker with SIGKILL, and read its remaining output."""
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)
        await self._ended()

    async def stop(self) -> int:
        """Tell the worker to stop, and wait.

        Returns:
            Its exit code.

        Raises:
            TimeoutError: it did not end within the grace time.
        """
        self._write(Stop())
        async with asyncio.timeout(GRACE_S):
            await self._ended()
        return self.process.returncode or 0

    async def _ended(self) -> None:
        await self.process.wait()
        if self._listener is not None:
            await self._listener


def _answer(future: asyncio.Future[T], answer: T) -> None:
    """Resolve a future if it is still pending."""
    if not future.done():
        future.set_result(answer)


async def start_child(command: Sequence[str], log: Path) -> Child:
    """Start a worker.

    Args:
        command: the worker and its arguments.
        log: the file for its standard error.
    """
    with os.fdopen(open_private(log, os.O_WRONLY | os.O_APPEND), "ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            limit=MAX_LINE_BYTES,
            # Ctrl-C in a terminal would otherwise reach the worker, too, and this process could not end it in order.
            start_new_session=True,
        )
    child = Child(process=process, ready=asyncio.get_running_loop().create_future())
    child.listen()
    return child


LOOK_EVERY_S = 0.2
ANSWER_LIMIT_S = 20.0
KILL_AFTER, KILL_BEFORE = 0.5, 0.75
"""The worker is killed between these fractions of all events."""

MAX_TOKENS = 12
MAX_UNANSWERED = 200
"""How many events may be sent before their answers."""


@attrs.frozen
class DemoStuck(Exception):
    """The demo cannot continue.

    Attributes:
        what: the step that did not complete.
    """

    what: str


@attrs.frozen(kw_only=True)
class Plot:
    """A demo's options.

    Attributes:
        store: the file's path, which does not exist yet.
        events: the events, in source order.
        seed: the seed for the services' failures.
        worker: the command that runs the worker. The store, the seconds and the seed follow.
    """

    store: Path
    source: str
    events: tuple[Incoming, ...]
    timing: Timing
    seed: int
    worker: Sequence[str] = WORKER


@attrs.define
class DemoRun:
    """A demo in progress.

    Attributes:
        deliveries: the sent events and their answers.
        fed: how many source events were sent.
        began: the start time, by the monotonic clock.
        child: the worker, once there is one.
        seen: the instances, while a worker answers.
    """

    plot: Plot
    screen: Screen
    deliveries: Deliveries
    evidence: Evidence
    fed: int = 0
    began: float = attrs.Factory(time.monotonic)
    phase: str = "starting"
    child: Child | None = None
    seen: Seen | None = None

    # ------------------------------------------------------------ all steps
    async def run(self) -> Proof:
        """Run all steps.

        Raises:
            DemoStuck: a step did not complete in time.
        """
        watching = asyncio.create_task(self._watch(), name="demo screen")
        try:
            await self._first_half()
            await self._crash()
            await self._second_half()
            await self._settle()
            await self._stop()
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            if self.child is not None:
                await self.child.kill()
        self.evidence.read()
        return prove(self.deliveries, self.evidence, expected_mails())

    async def _first_half(self) -> None:
        self._step("store", f"{self.plot.store}, one SQLite file")
        await self._start("started", "owns the store and runs the five jobs")
        await self._start_tokens()
        await self._start_work()
        self._enter("feeding", f"{len(self.deliveries.order)} events from {self.plot.source}")
        await self._feed(self._is_time_to_kill)

    async def _crash(self) -> None:
        await self._worker.kill()
        await asyncio.sleep(0)  # read the answers that it had already written
        self.evidence.read()
        cut, unanswered = self.evidence.under_way, len(self.deliveries.unanswered())
        self.seen = None
        self._enter(
            "killed",
            f"process {self._worker.process.pid} with SIGKILL, in the middle of {_counted(cut, 'call')} to services, "
            f"{_counted(unanswered, 'event')} not acknowledged",
        )

    async def _second_half(self) -> None:
        left_behind = await self._start("restarted", "opened the same file")
        self._step("recovered", f"{_counted(left_behind, 'run')} that the dead process had started: delivered again")
        await self._start_tokens()
        await self._start_work()
        await self._send_again()
        self._enter("feeding", f"the other {len(self.deliveries.order) - self.fed} events")
        await self._feed(lambda: False)

    async def _settle(self) -> None:
        self._enter("settling", "every event is sent; waiting for the last batches and retries")
        async with _limit(SETTLE_LIMIT_S, "the last answers, batches and retries did not complete"):
            while not await self._is_settled():  # noqa: ASYNC110 - queries another process
                await asyncio.sleep(LOOK_EVERY_S)

    async def _is_settled(self) -> bool:
        """Return whether every event is answered and no batch is left. Send events without a clear answer again."""
        for sending in self.deliveries.unanswered():
            if not sending.under_way:
                self._send(sending)
        if self.deliveries.unanswered():
            self._check_worker()
            return False
        seen = await self._answered(self._worker.ask(partial(InspectStore, rows=0)))
        return isinstance(seen, Seen) and all(_is_done(counts) for counts in seen.counts)

    async def _stop(self) -> None:
        async with _limit(ANSWER_LIMIT_S, "the worker did not stop"):
            code = await self._worker.stop()
        self._step("stopped", f"process {self._worker.process.pid}, gracefully (exit code {code})")

    # ------------------------------------------------------------ the worker
    @property
    def _worker(self) -> Child:
        if self.child is None:
            raise DemoStuck("no worker was started")
        return self.child

    async def _start(self, name: str, meaning: str) -> int:
        """Start a worker, and return how many runs an earlier one did not complete."""
        plot = self.plot
        self.phase = "starting"
        command = (*plot.worker, str(plot.store), str(plot.timing.seconds), str(plot.seed))
        self.child = child = await start_child(command, self._log)
        async with _limit(START_LIMIT_S, "the worker did not open the store"):
            ready = await child.ready
        if ready is None:
            raise DemoStuck(
                f"the worker ended before it had opened the store; the end of its log: {self._end_of_log()}"
            )
        self._step(name, f"process {ready.process} {meaning}")
        return ready.left_behind

    @property
    def _log(self) -> Path:
        return self.plot.store.with_name(f"{self.plot.store.name}.log")

    def _end_of_log(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return lines[-1] if lines else "empty"

    def _is_time_to_kill(self) -> bool:
        """Return whether half the events are sent and a kill would interrupt a batch and a mail, or 75 % are sent."""
        total = len(self.deliveries.order)
        if self.fed < KILL_AFTER * total:
            return False
        self.evidence.read()
        return self.fed >= KILL_BEFORE * total or bool(self.evidence.sink.under_way and self.evidence.mail.under_way)

    # ------------------------------------------------------------ sending
    async def _start_tokens(self) -> None:
        """Start a token refresher for the first order owners. Starting an existing one has no effect."""
        owners = [
            incoming.event.owner
            for incoming in self.deliveries.order
            if isinstance(incoming, IncomingOrder) and isinstance(incoming.event, OrderPlaced)
        ]
        answers = [self._worker.ask(partial(StartToken, owner=owner)) for owner in _first(owners, MAX_TOKENS)]
        await self._answered(asyncio.gather(*answers))

    async def _start_work(self) -> None:
        """Put the receipts and start the workflows. Those that are there are left unchanged."""
        await self._answered(self._worker.ask(StartWork))

    async def _feed(self, until: Callable[[], bool]) -> None:
        """Send events at an even pace, to the last one or until a condition holds."""
        gap_s = self.plot.timing.feed_s / len(self.deliveries.order)
        due_s = time.monotonic()
        while self.fed < len(self.deliveries.order) and not until():
            self._send(self.deliveries.of(self.deliveries.order[self.fed]))
            self.fed += 1
            # From the due time, not from the clock: delays do not add up.
            due_s += gap_s
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            await self._answered(self._room())

    async def _send_again(self) -> None:
        unanswered = self.deliveries.unanswered()
        self._step("resent", f"{_counted(len(unanswered), 'unacknowledged event')}, with the same keys")
        for sending in unanswered:
            self._send(sending)
            await self._answered(self._room())

    def _send(self, sending: Delivery) -> None:
        sending.sent += 1
        sending.under_way += 1
        answer = self._worker.ask(partial(SendEvent, incoming=sending.incoming))
        answer.add_done_callback(lambda done: None if done.cancelled() else sending.take(done.result()))

    async def _room(self) -> None:
        while len(self.deliveries.unanswered()) > MAX_UNANSWERED and not self._worker.has_ended:  # noqa: ASYNC110 - rare
            await asyncio.sleep(0.01)

    async def _answered(self, waiting: Awaitable[T]) -> T:
        async with _limit(ANSWER_LIMIT_S, "the worker did not answer"):
            answer = await waiting
        self._check_worker()
        return answer

    def _check_worker(self) -> None:
        if self._worker.has_ended:
            raise DemoStuck(f"the worker ended by itself; the end of its log: {self._end_of_log()}")

    # ------------------------------------------------------------ output
    async def _watch(self) -> None:
        """Query the instances, read the journals, and show both."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self.child is not None and self.child.ready.done():
                answer = await self.child.ask(partial(InspectStore, rows=self.screen.rows))
                self.seen = answer if isinstance(answer, Seen) else None
            self.evidence.read()
            self.screen.show(self._view())

    def _view(self) -> View:
        return View(
            elapsed_s=self._elapsed_s,
            phase=self.phase,
            deliveries=self.deliveries,
            evidence=self.evidence,
            seen=self.seen,
        )

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self.began

    def _enter(self, phase: str, text: str) -> None:
        self.phase = phase
        self._step(phase, text)

    def _step(self, name: str, text: str) -> None:
        self.screen.step(self._elapsed_s, name, text)


async def run(plot: Plot, screen: Screen) -> Proof:
    """Run a demo.

    Raises:
        DemoStuck: a step did not complete in time, or the worker ended by itself.
    """
    return await DemoRun(plot, screen, Deliveries(plot.events), evidence_beside(str(plot.store))).run()


@asynccontextmanager
async def _limit(seconds: float, otherwise: str) -> AsyncGenerator[None]:
    """Limit a wait, so that the demo never hangs."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise DemoStuck(f"{otherwise} within {seconds:g} s") from error


def _is_done(counts: JobCounts) -> bool:
    """Return whether a job has processed all its events. Token refreshers never end and may be running."""
    match counts.job:
        case "webhook-batcher":
            return counts.instances == counts.by_status.get("parked", 0)
        case "order-processor":
            return counts.busy == 0
        case "token-refresher":
            return True
        case "receipts" | "welcome":
            return counts.instances == counts.by_status.get("done", 0)
        case _:
            assert_never(counts.job)


def _first(names: Iterable[str], limit: int) -> tuple[str, ...]:
    """Return the first different names, in order."""
    return tuple(dict.fromkeys(names))[:limit]


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


SHIPPED = "events.jsonl"


@attrs.frozen
class Source:
    """Events, and invalid lines.

    Attributes:
        name: the file's name in messages.
        events: the events, in file order.
    """

    name: str
    events: tuple[Incoming, ...]
    malformed: tuple[Malformed, ...]


def read_source(path: Path | None) -> Source:
    """Read an event file. None: the one that ships with the package.

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
    and a workflow, against services that fail now and then. The demo kills it with SIGKILL while it works, and starts
    it again. The proof compares the acknowledged events with the services' journals, which are files next to the store.

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
        An event file. By default one that ships with perdure.
    store
        A new SQLite file, which is kept. By default a temporary one.
    keep
            Keep the temporary file, and the services' journals next to it.
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
    # The files of a failed demo show its cause.
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
        # After the table is closed: redrawing would overwrite it.
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
    # An older journal would count as effects of this demo.
    taken = [beside for beside in (path, *_journals(path)) if beside.exists()]
    if taken:
        raise UsageError(f"--store {path}: {taken[0]} exists; the demo needs a new file: pass another name")
    if not path.parent.is_dir():
        raise UsageError(f"--store {path}: the folder {path.parent} does not exist; create it first")
    return path


def _journals(path: Path) -> tuple[Path, ...]:
    return tuple(Path(journal_path(str(path), service)) for service in SERVICES)
