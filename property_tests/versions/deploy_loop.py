"""Two versions of an app in real processes, rolled forwards and back and killed under the load of both versions.

Engines share a database, or follow each other on a file. Each has a Unix socket; clients know all of them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any, Literal, TypeAlias

from attrs import Factory, define, field
from callers import Caller, Step
from deploy_app import VERSIONS, payload_of
from history import Age, Call, History, Try
from laws import Laws
from returns.result import Failure, Success
from versioned_jobs import KINDS, Code

from perdure.remote import connect_sync

HERE = Path(__file__).parent
Plan: TypeAlias = tuple[tuple[int, Literal["SIGTERM", "SIGKILL"], Age], ...]
"""The engines that end one after the other: which, how, and the version of the next one at its place."""

ON_A_FILE: Plan = ((0, "SIGKILL", "new"), (0, "SIGTERM", "old"), (0, "SIGKILL", "new"))
SHARED: Plan = (
    (0, "SIGTERM", "new"),
    (1, "SIGKILL", "old"),
    (0, "SIGKILL", "old"),
    (0, "SIGTERM", "new"),
    (1, "SIGKILL", "new"),
)

GIVES_UP_S = 60.0
CALLERS = 6
SETTLED = frozenset({"idle", "done", "not_found"})
Clients: TypeAlias = Mapping[Age, Any]


@define
class Engine:
    """One process.

    Attributes:
        socket: the address at which it serves.
    """

    socket: Path
    store: str
    effects: Path
    _process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """The URL of its server."""
        return f"http+unix://{self.socket}"

    def begin(self, age: Age) -> None:
        """Start the engine of a version."""
        command = [sys.executable, "-m", "perdure", "serve", "deploy_app:app", "--store", self.store, "--no-socket"]
        path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(  # noqa: S603 - our own app
            [*command, "--bind", f"unix:{self.socket}"],
            cwd=HERE,
            env={**os.environ, "DEPLOY_AGE": age, "DEPLOY_EFFECTS": str(self.effects), "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        lines = []
        while "serving" not in (line := self._process.stdout.readline()):
            assert line, "".join(lines)
            lines.append(line)

    def end(self, how: Literal["SIGTERM", "SIGKILL"]) -> None:
        """End it, and wait for that."""
        if self._process is not None:
            self._process.send_signal(getattr(signal, how))
            assert self._process.stdout is not None
            self._process.stdout.read()
            self._process.wait(60)
            self._process.stdout.close()
            self._process = None


@define
class KindHistory(History):
    """The calls to the job of one kind."""

    kind: str
    codes: dict[Age, Code]
    deploy: Deploy
    calls: list[Call] = Factory(list[Call])

    @property
    def keys(self) -> Mapping[str, set[str]]:
        return self.deploy.keys

    def ask(self, make: Callable[[Any], Any]) -> Any:
        call = self.start(Call("law", "new"), make)
        assert call.state == "answered", call.tries
        return call.answer

    def start(self, call: Call, make: Callable[[Any], Any]) -> Call:
        self.calls.append(call)
        self.deploy.make(call, self.kind, make)
        return call

    def next_number(self) -> int:
        return self.deploy.next_number()


@define(eq=False)
class Deploy:
    """The engines, the callers and their histories.

    Attributes:
        folder: of the sockets and the file of effects.
        store: the URL of the store.
        plan: `ON_A_FILE` or `SHARED`.
        seed: of the load.
    """

    folder: Path
    store: str
    plan: Plan
    seed: int = 0
    engines: list[Engine] = field(init=False)
    histories: dict[str, KindHistory] = field(init=False)
    codes: dict[Age, Code] = field(init=False)
    clients: Clients = field(init=False)
    answered: threading.Semaphore = Factory(lambda: threading.Semaphore(0))
    _numbers: int = 0
    _lock: threading.Lock = Factory(threading.Lock)

    def __attrs_post_init__(self) -> None:
        self.codes = {"old": Code(VERSIONS["old"]), "new": Code(VERSIONS["new"])}
        effects = self.folder / "effects"
        self.engines = [
            Engine(self.folder / f"{place}.sock", self.store, effects)
            for place in sorted({place for place, *_ in self.plan})
        ]
        self.histories = {kind: KindHistory(kind, self.codes, self) for kind in KINDS}

    # ------------------------------------------------------------ calls
    def next_number(self) -> int:
        """Return the number of the next request."""
        with self._lock:
            self._numbers += 1
            return self._numbers

    @property
    def keys(self) -> Mapping[str, set[str]]:
        """The keys of each work."""
        found: dict[str, set[str]] = {}
        for line in (self.folder / "effects").read_text().splitlines():
            work, key = line.split("\t")
            found.setdefault(work, set()).add(key)
        return found

    def make(self, call: Call, kind: str, make: Callable[[Any], Any]) -> None:
        """Make a call until it is answered, or may not be repeated."""
        client = self.clients[call.of]
        handle = client.handle(self.codes[call.of].job(kind))
        deadline = time.monotonic() + GIVES_UP_S
        while call.state == "open":
            match client.attempt(make(handle)):
                case Success(value):
                    call.answer, call.state = value, "answered"
                case Failure(error):
                    call.tries.append(Try(None, error))
                    if not call.repeats(error) or time.monotonic() > deadline:
                        call.state = "failed"
                    time.sleep(0.05)
        self.answered.release()

    def _load(self, number: int, steps: int) -> None:
        random = Random(f"{self.seed} {number}")  # noqa: S311 - the load
        for _ in range(steps):
            caller = Caller(self.histories[random.choice(KINDS)], lambda age: payload_of(self.codes[age], random))
            ages: tuple[Age, Age] = ("old", "new")
            step = Step("request", random.choice(ages), random.randrange(3), True, random.randrange(3), 0)
            caller.request(step)

    # ------------------------------------------------------------ the deploy
    def run(self, *, rounds: int, steps: int) -> None:
        """Roll forwards, back and forwards under load, settle, and check the laws.

        Args:
            rounds: how often the plan is executed.
            steps: the requests of each caller.
        """
        with ExitStack() as stack:
            for engine in self.engines:
                stack.callback(engine.end, "SIGKILL")
                engine.begin("old")
            self.clients = {age: stack.enter_context(self._connected(age)) for age in self.codes}
            callers = [threading.Thread(target=self._load, args=(number, steps)) for number in range(CALLERS)]
            for caller in callers:
                caller.start()
            for place, how, age in self.plan * rounds:
                self._await(CALLERS * steps // (len(self.plan) * rounds + 1))
                self.engines[place].end(how)
                self.engines[place].begin(age)
                self._nothing_is_parked()
            for caller in callers:
                caller.join()
            self._settle()
            for history in self.histories.values():
                Laws(history).check()

    def _connected(self, age: Age) -> Any:
        code = self.codes[age]
        urls = [engine.url for engine in self.engines]
        return connect_sync(urls, *map(code.job, KINDS), timeout="5 seconds", wait_timeout="5 seconds")

    def _await(self, answers: int) -> None:
        """Wait for answers; the callers may have ended before."""
        for _ in range(answers):
            if not self.answered.acquire(timeout=5):
                return

    def _rows(self) -> Iterator[Any]:
        client = self.clients["new"]
        yield from client.run(client.list(limit=1_000)).instances

    def _nothing_is_parked(self) -> None:
        parked = [
            str(row.address) for row in self._rows() if row.report.parked in {"undecodable", "recovery_exhausted"}
        ]
        assert parked == [], f"an engine parked {parked}"

    def _settle(self) -> None:
        """Wait until everything has ended but the reports, which recur; resume each run that failed for good."""
        deadline = time.monotonic() + GIVES_UP_S
        client = self.clients["new"]
        while True:
            self._nothing_is_parked()
            rows = [row for row in self._rows() if row.address.kind != "continuous"]
            for row in rows:
                if row.status == "parked":
                    client.run(client.handle_by_name(row.address.kind, row.address.name).call("resume", row.address.id))
            open_ = [row for row in rows if row.status not in SETTLED and not _waits_for_a_signal(row)]
            if not open_:
                return
            assert time.monotonic() < deadline, open_
            time.sleep(0.2)


def _waits_for_a_signal(row: Any) -> bool:
    return row.address.kind == "workflow" and row.report.next_run_at is None and row.status != "running"
