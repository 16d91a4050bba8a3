"""The machine a figure was taken on, and what else it was doing at that moment."""

from __future__ import annotations

import os
import platform
import sqlite3
import time
from importlib.metadata import version
from pathlib import Path

from attrs import frozen

from measured.figures import Spread

PROBES = 100
PAGE = b"p" * 4096


@frozen
class Conditions:
    """What the machine was like beside a measurement.

    Attributes:
        load: runnable tasks, on average over the last minute.
        fsync: what it takes to overwrite 4 KiB and wait for the disk.
    """

    load: float
    fsync: Spread

    def __str__(self) -> str:
        return f"load {self.load:.1f}, fsync {self.fsync.p50_ms:.2f} / {self.fsync.p99_ms:.2f} ms"


def conditions(folder: Path) -> Conditions:
    """Look at the load, and probe the disk that a folder is on."""
    waits: list[float] = []
    probe = folder / "fsync-probe"
    with probe.open("wb", buffering=0) as file:
        file.write(PAGE)
        os.fsync(file.fileno())
        for _ in range(PROBES):
            began = time.perf_counter()
            os.pwrite(file.fileno(), PAGE, 0)
            os.fdatasync(file.fileno())
            waits.append(time.perf_counter() - began)
    probe.unlink()
    return Conditions(os.getloadavg()[0], Spread.of(waits))


def versions() -> str:
    """Name the versions that a figure depends on."""
    return (
        f"perdure {version('perdure')}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"aiosqlite {version('aiosqlite')}, {platform.system()} {platform.release()}, {os.cpu_count()} cores ({_cpu()})"
    )


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
