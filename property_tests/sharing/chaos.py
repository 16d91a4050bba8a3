"""Chaos: engines in processes on one PostgreSQL, which are killed, stopped, cut off, delayed and closed, under load.

``python property_tests/sharing/chaos.py [--rounds 200] [--minutes M] [--engines 4] [--folder DIR]``, as root for
network namespaces. It exits with an error if an acknowledged call is lost or applied twice, an effect is repeated
unmarked, a history is not linearizable, an engine that was declared dead writes, a takeover is late, or anything stays
behind.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
from attrs import define, field

sys.path.append(str(Path(__file__).parents[2] / "tests" / "plugins"))

from chaos_audit import Takeover, Verdict, audit
from chaos_network import Link, has_namespaces
from postgres_server import PrivateCluster, binaries

from perdure.stores.postgres import migrate_schema

HERE = Path(__file__).parent
SCHEMA = "chaos"
SETTLES_S = 90

MISHAPS = (
    *("kill", "kill", "stall", "stall long", "cut", "cut long", "delay", "close"),
    *("restart the database", "crash the database", "deploy"),
)

_TRIGGERS = """
CREATE TABLE public.written (at_s float8 NOT NULL DEFAULT extract(epoch FROM clock_timestamp()), engine text NOT NULL);
CREATE TABLE public.died (at_s float8 NOT NULL DEFAULT extract(epoch FROM clock_timestamp()), label text NOT NULL);
CREATE FUNCTION public.note_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.written (engine) VALUES (current_setting('application_name'));
  RETURN NULL;
END $$;
CREATE FUNCTION public.note_death() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.died (label) VALUES (NEW.label);
  RETURN NULL;
END $$;
CREATE TRIGGER written AFTER INSERT OR UPDATE OR DELETE ON chaos.instances
FOR EACH ROW EXECUTE FUNCTION public.note_write();
CREATE TRIGGER died AFTER UPDATE ON chaos.engines FOR EACH ROW WHEN (NEW.state = 'dead' AND OLD.state = 'open')
EXECUTE FUNCTION public.note_death();
"""

_LEFT = """
SELECT (SELECT count(*) FROM chaos.instances WHERE owner IS NOT NULL OR event_owner IS NOT NULL) AS claims,
  (SELECT count(*) FROM chaos.messages) AS messages,
  (SELECT count(*) FROM chaos.dead_letters) AS dead_letters,
  (SELECT count(*) FROM chaos.instances WHERE suspension IS NOT NULL) AS suspended,
  (SELECT count(*) FROM chaos.instances WHERE due_ms IS NOT NULL AND kind = 'task') AS alarms,
  (SELECT count(*) FROM chaos.instances WHERE kind <> 'task' AND status <> 'done') AS unfinished
"""
_PARKED = "SELECT name, id FROM chaos.instances WHERE suspension = 'recovery_exhausted'"


@define
class Engine:
    """A process that serves the jobs.

    Attributes:
        name: of this start.
        link: its place in the network.
        process: the process.
        label: as its store names it.
        up: set when it serves.
    """

    name: str
    link: Link
    process: asyncio.subprocess.Process
    up: asyncio.Event = field(factory=asyncio.Event)

    @property
    def label(self) -> str:
        return f"{socket.gethostname()}:{self.process.pid}"

    @property
    def is_over(self) -> bool:
        return self.process.returncode is not None

    async def watch(self) -> None:
        """Wait until it serves."""
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            if b"serving" in line:
                self.up.set()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it is over."""
        if not self.is_over:
            self.process.send_signal(number)


@define
class Chaos:
    """A run.

    Attributes:
        folder: of the logs.
        cluster: the server, or the servers, with a ``url``.
        engines_wanted: how many engines are kept alive.
        drawn: all choices.
        lease_s: how long a lease lasts.
        callers: how many callers each of the two processes has.
        namespaces: whether the engines are in network namespaces.
        done: the mishaps so far.
        takeovers: the mishaps that ended an engine, while nothing else happened.
        names: the labels of all engines, by name.
        version: of the code that engines start with: 2 after the first deploy.
        deploys: when each deploy began and ended.
    """

    folder: Path
    cluster: Any
    engines_wanted: int
    drawn: random.Random
    lease_s: float = 6.0
    callers: int = 5
    namespaces: bool = field(factory=has_namespaces)
    done: Counter[str] = field(factory=Counter)
    takeovers: list[Takeover] = field(factory=list)
    names: dict[str, str] = field(factory=dict)
    version: int = 1
    deploys: list[tuple[float, float]] = field(factory=list)
    _links: list[Link] = field(factory=list)
    _engines: list[Engine] = field(factory=list)
    _started: int = 0
    _watches: set[asyncio.Task[None]] = field(factory=set)

    # ------------------------------------------------------------ processes
    async def start(self, link: Link) -> Engine:
        """Start an engine at a link, and wait until it serves."""
        self._started += 1
        name = f"e{link.number}.{self._started}"
        url = (
            f"{self.way_to_database(link)}&schema={SCHEMA}&ownership=shared&lease={self.lease_s * 1000:.0f}ms"
            f"&application_name={name}"
        )
        script, options = str(HERE / "chaos_engine.py"), (url, link.bind, name, str(self.folder), str(self.version))
        process = await self._process(name, *link.prefix, sys.executable, script, *options)
        engine = Engine(name, link, process)
        watch = asyncio.ensure_future(engine.watch())
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)
        self.names[name] = engine.label
        self._engines.append(engine)
        return engine

    def way_to_database(self, link: Link) -> str:
        """Return the URL of the database for an engine."""
        return f"postgresql://postgres@{link.here}:{link.port}/postgres?"

    async def _process(self, name: str, *command: str) -> asyncio.subprocess.Process:
        with (self.folder / f"log-{name}").open("wb") as log:
            return await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=log)

    async def _callers(self) -> list[asyncio.subprocess.Process]:
        script, addresses = str(HERE / "chaos_caller.py"), [link.bind for link in self._links]
        options = str(self.folder), str(self.callers), *addresses
        return [await self._process(name, sys.executable, script, name, *options) for name in ("c1", "c2")]

    async def keep_alive(self) -> None:
        """Start an engine at each link that has none, as a supervisor does."""
        self._engines = [engine for engine in self._engines if not engine.is_over]
        missing = [link for link in self._links if all(engine.link is not link for engine in self._engines)]
        await asyncio.gather(*map(self.start, missing))
        for engine in self._engines:
            up, over = asyncio.ensure_future(engine.up.wait()), asyncio.ensure_future(engine.process.wait())
            await asyncio.wait({up, over}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
            up.cancel()
            over.cancel()

    # ------------------------------------------------------------ mishaps
    async def suffer(self, mishap: str) -> None:
        """Let one engine, or the database, suffer."""
        self.done[mishap] += 1
        engine = self.drawn.choice([engine for engine in self._engines if engine.up.is_set() and not engine.is_over])
        began_s = time.monotonic()
        match mishap:
            case "kill":
                engine.signal(signal.SIGKILL)
                await engine.process.wait()
            case "close":
                engine.signal(signal.SIGTERM)
            case "deploy":
                await self._deploy()
                self.deploys.append((began_s, time.monotonic()))
            case "stall" | "stall long":
                engine.signal(signal.SIGSTOP)
                await asyncio.sleep(self.lease_s * (2 if mishap == "stall long" else self.drawn.random() * 0.7))
                engine.signal(signal.SIGCONT)
            case "cut" | "cut long":
                engine.link.cut()
                await asyncio.sleep(self.lease_s * (2 if mishap == "cut long" else self.drawn.random() * 0.5))
                engine.link.heal()
            case "delay":
                engine.link.delay_s = self.drawn.random() * 0.2
                await asyncio.sleep(self.lease_s)
                engine.link.heal()
            case _:
                mode = "fast" if mishap == "restart the database" else "immediate"
                await asyncio.to_thread(self.cluster.stop, mode)  # the proxies of this process answer meanwhile
                await asyncio.to_thread(self.cluster.start)
        if mishap in ("kill", "stall long", "cut long"):
            await asyncio.sleep(max(0.0, self.lease_s + 1.5 - (time.monotonic() - began_s)))
            self.takeovers.append(Takeover(mishap=mishap, engine=engine.name, at_s=began_s))
        if mishap in ("close", "cut long", "stall long"):
            await self._ended(engine)
        await asyncio.sleep(self.drawn.random() * 0.5)

    async def _deploy(self) -> None:
        """Replace the engines one by one, by engines with the second version of the code."""
        self.version = 2
        for engine in tuple(self._engines):
            engine.signal(signal.SIGTERM)
            await self._ended(engine)
            await self.keep_alive()

    async def _ended(self, engine: Engine) -> None:
        """Wait for the end of an engine that was closed, or has lost its lease."""
        try:
            await asyncio.wait_for(engine.process.wait(), 20)
        except TimeoutError:
            self.done["did not end by itself"] += 1
            engine.signal(signal.SIGKILL)
            await engine.process.wait()

    # ------------------------------------------------------------ the whole
    async def run(self, mishaps: list[str], minutes: float = 1_000) -> Verdict:
        """Let each mishap happen, one after the other, under load, as long as there is time; then audit."""
        until = time.monotonic() + 60 * minutes
        await migrate_schema(f"{self.cluster.url}&schema={SCHEMA}")
        connection = await asyncpg.connect(self.cluster.url)
        await connection.execute(_TRIGGERS)
        await connection.close()
        database = Path(self.cluster.url.partition("host=")[2], ".s.PGSQL.5432")
        callers: list[asyncio.subprocess.Process] = []
        try:
            for number in range(self.engines_wanted):
                self._links.append(Link(number, database, self.namespaces))
                await self._links[-1].open()
            await self.keep_alive()
            callers = await self._callers()
            await asyncio.sleep(1)
            for mishap in mishaps:
                if time.monotonic() > until:
                    break
                await self.suffer(mishap)
                await self.keep_alive()
            for caller in callers:
                caller.send_signal(signal.SIGTERM)
            left = await self._settled(callers)
            for engine in self._engines:
                engine.signal(signal.SIGTERM)
            for engine in self._engines:
                await self._ended(engine)
            return await audit(self, left)
        finally:
            for process in (*callers, *(engine.process for engine in self._engines)):
                if process.returncode is None:
                    process.kill()
                await process.wait()
            for link in self._links:
                link.close()

    async def _settled(self, callers: list[asyncio.subprocess.Process]) -> dict[str, int]:
        """Wait until nothing is left to do, and return the work that is left after a while."""
        connection = await asyncpg.connect(self.cluster.url)
        until = time.monotonic() + SETTLES_S
        while True:
            await self.keep_alive()
            await self._resume(connection)
            row = await connection.fetchrow(_LEFT)
            left = {name: number for name, number in row.items() if number}
            left |= {"callers": calling} if (calling := sum(one.returncode is None for one in callers)) else {}
            if not left or time.monotonic() > until:
                await connection.close()
                return left
            await asyncio.sleep(0.3)

    async def _resume(self, connection: asyncpg.Connection) -> None:
        """Resume the parked instances, as an operator does: three lost leases during one run park it."""
        for name, id_ in await connection.fetch(_PARKED):
            engine = next((one for one in self._engines if one.up.is_set() and not one.is_over), None)
            if engine is not None:
                self.done["parked and resumed"] += 1
                reader, writer = await asyncio.open_connection(*engine.link.bind.split(":"))
                asked = {
                    "n": 0,
                    "key": f"resume {self.done.total()}",
                    "of": [name, id_],
                    "asked": "resume",
                    "number": 0,
                }
                writer.write(json.dumps(asked).encode() + b"\n")
                await reader.readline()
                writer.close()


def drawn_mishaps(rounds: int, drawn: random.Random, among: Sequence[str] = MISHAPS) -> list[str]:
    """Return a mishap for each round: all of them in turns, in another order each time."""
    mishaps: list[str] = []
    while len(mishaps) < rounds:
        mishaps += drawn.sample(among, len(among))
    return mishaps[:rounds]


def main() -> None:
    """Run the long form, and print the outcome."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--engines", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=1_000, help="after which no further round begins")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lease", type=float, default=6.0, help="seconds")
    parser.add_argument("--only", choices=sorted(set(MISHAPS)), default=None, help="the only kind of mishap")
    parser.add_argument("--folder", default=None, help="where the logs are kept; by default they are deleted")
    options = parser.parse_args()
    programs = binaries()
    if programs is None:
        sys.exit("there is no PostgreSQL on this machine: apt-get install postgresql")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that everything is removed
    drawn = random.Random(options.seed)  # noqa: S311 - reproducible on purpose
    with tempfile.TemporaryDirectory() as temporary, PrivateCluster(programs) as cluster:
        folder = Path(options.folder or temporary)
        folder.mkdir(exist_ok=True)
        chaos = Chaos(folder, cluster, options.engines, drawn, options.lease)
        where = "in network namespaces" if chaos.namespaces else "behind proxies"
        print(f"{options.rounds} rounds over {options.engines} engines {where}, lease {chaos.lease_s} s", flush=True)
        among = MISHAPS if options.only is None else (options.only,)
        verdict = asyncio.run(chaos.run(drawn_mishaps(options.rounds, drawn, among), options.minutes))
        print(verdict.text(), flush=True)
        sys.exit(0 if verdict.holds else 1)


if __name__ == "__main__":
    main()
