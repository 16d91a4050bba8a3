"""A small append-only store: a base and a log of the changes since, with bugs to choose from."""

import asyncio
import base64
import fcntl
import json
import os
import pickle
import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal

import attrs
from one_by_one import committed, each_commit
from returns.future import FutureResult
from returns.result import Success

from perdure.stores.contract import Store, overlay
from perdure.stores.memory.instances import Instances
from perdure.stores.memory.opening import OpenMemoryStore
from perdure.stores.memory.tables import Tables
from perdure.stores.values import Capabilities, Query
from perdure.testing.conformance.assertions import answer
from perdure.values.errors import StoreLocked

Bug = Literal[
    "",
    "shows a commit before it is written",
    "replays a log that the base contains",
    "refuses a cut line",
    "appends to a cut line",
    "renumbers instances at compaction",
]


@attrs.frozen(kw_only=True)
class Base:
    """The output of compaction: the tables after a number of lines of the log."""

    lines: int = 0
    tables: Tables = attrs.Factory(Tables)


class LogHarness:
    """A directory with a base and a log. Opening compacts a log of at least ``compact_at`` lines.

    Attributes:
        bug: the bug of the store.
    """

    bug: Bug = ""
    compact_at = 1

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="log-store-"))

    async def open(self) -> Store:
        return await LogStore(self.folder, self.bug, self.compact_at).open()

    async def discard(self) -> None:
        shutil.rmtree(self.folder)


class LogStore:
    """The store: changes are written to the log, then shown."""

    def __init__(self, folder: Path, bug: Bug, compact_at: int) -> None:
        self.folder, self.bug, self.compact_at = folder, bug, compact_at
        self.closed = False
        self.turn = asyncio.Lock()

    async def open(self) -> Store:
        self._lock()
        base = self._base()
        tables, self.lines = base.tables, base.lines
        text = self._log_text()
        for line in text.splitlines():
            try:
                number, call = json.loads(line)
            except ValueError:
                if self.bug != "appends to a cut line":
                    raise
                continue
            if number > self.lines or self.bug == "replays a log that the base contains":
                await replay(OpenMemoryStore(tables), call)
                self.lines = number
        if text.count("\n") >= self.compact_at:
            self._replace("base", pickle.dumps(Base(lines=self.lines, tables=self._compacted(tables))))
            self._replace("log", b"")
        epochs = self._content("epoch")
        self._replace("epoch", epochs + b".")
        self.decided, self.shown = OpenMemoryStore(unpickled(pickle.dumps(tables))), OpenMemoryStore(tables)
        if self.bug == "shows a commit before it is written":
            self.decided = self.shown
        return overlay(
            self.shown,
            name=f"log://{self.folder}",
            epoch=len(epochs) + 1,
            capabilities=Capabilities(ownership="owned", durability="relaxed"),
            **dict.fromkeys(("lanes", "journal", "streams", "histories", "cursors", "counts")),
            synchronous=False,
            commit=each_commit(self._writes("commit")),
            set_hold=self._writes("set_hold"),
            redrive=self._writes("redrive"),
            prune=self._writes("prune"),
            close=lambda: FutureResult(self.close()),
        )

    async def write(self, name: str, *arguments: object):
        return await asyncio.shield(asyncio.ensure_future(self._write(name, *arguments)))

    async def _write(self, name: str, *arguments: object):
        async with self.turn:
            found = await ask(self.decided, name, *arguments)
            if not isinstance(found, Success) or self.closed:
                return found
            self.lines += 1
            call = base64.b64encode(pickle.dumps((name, arguments))).decode()
            await asyncio.to_thread(self._append, json.dumps([self.lines, call]) + "\n")
            return found if self.decided is self.shown else await ask(self.shown, name, *arguments)

    async def close(self):
        async with self.turn:
            if not self.closed:
                os.close(self.lock)
            self.closed = True
            await answer(self.decided.close())
            return await answer(self.shown.close())

    def _writes(self, name: str):
        return lambda *arguments: FutureResult(self.write(name, *arguments))

    def _lock(self) -> None:
        self.lock = os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR)  # no warning if a case leaves it open
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self.lock)
            raise StoreLocked(str(self.folder), "another opening") from error

    def _content(self, name: str) -> bytes:
        file = self.folder / name
        return file.read_bytes() if file.exists() else b""

    def _base(self) -> Base:
        content = self._content("base")
        return unpickled(content) if content else Base()

    def _log_text(self) -> str:
        """Read the log, and remove a line that a crash cut."""
        text = self._content("log").decode()
        whole = text[: text.rfind("\n") + 1]
        if whole != text and self.bug == "refuses a cut line":
            return text
        if whole != text and self.bug != "appends to a cut line":
            os.truncate(self.folder / "log", len(whole))
        return whole

    def _compacted(self, tables: Tables) -> Tables:
        if self.bug == "renumbers instances at compaction":
            instances = Instances()
            for one in sorted(tables.instances.find(Query(limit=1_000)), key=lambda one: one.incarnation):
                instances.put(None, one)
            tables.instances = instances
        return tables

    def _append(self, line: str) -> None:
        with (self.folder / "log").open("a", encoding="utf-8") as file:
            file.write(line)

    def _replace(self, name: str, content: bytes) -> None:
        draft = self.folder / f"{name}.new"
        draft.write_bytes(content)
        draft.replace(self.folder / name)


def unpickled(content: bytes) -> Any:
    return pickle.loads(content)  # noqa: S301 - written by this store


async def replay(opening: OpenMemoryStore, call: str) -> None:
    name, arguments = unpickled(base64.b64decode(call))
    await ask(opening, name, *arguments)


async def ask(opening: OpenMemoryStore, name: str, *arguments: Any):
    if name == "commit":  # of the tables: it has no runtime for ``commit_one``
        return (await committed(opening, arguments))[0]
    return await answer(getattr(opening, name)(*arguments))


class ShowsBeforeItWrites(LogHarness):
    bug = "shows a commit before it is written"


class ReplaysTwice(LogHarness):
    bug = "replays a log that the base contains"


class RefusesACutLine(LogHarness):
    bug = "refuses a cut line"


class AppendsToACutLine(LogHarness):
    bug = "appends to a cut line"
    compact_at = 1_000


class RenumbersAtCompaction(LogHarness):
    bug = "renumbers instances at compaction"
    compact_at = 100
