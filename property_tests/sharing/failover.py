"""Failover: the primary is killed, its synchronous replica is promoted, and the engines reconnect to it.

``python property_tests/sharing/failover.py [--rounds 5] [--lease 6]``: in each round 3 engines with callers reach two
servers by one URL with both hosts. The audit is that of `chaos`.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

from attrs import define, field
from chaos import Chaos
from chaos_audit import Verdict
from chaos_network import Link
from postgres_server import ReplicatedCluster, binaries


@define
class Failover(Chaos):
    """Engines that reach a pair of servers.

    Attributes:
        outages_s: how long no server accepted writes.
    """

    outages_s: list[float] = field(factory=list)

    def way_to_database(self, link: Link) -> str:
        return self.cluster.url

    async def suffer(self, mishap: str) -> None:
        if mishap != "fail over":
            await super().suffer(mishap)
            return
        assert isinstance(self.cluster, ReplicatedCluster)
        self.done[mishap] += 1
        began_s = time.monotonic()
        self.cluster.primary.kill()
        await asyncio.sleep(self.drawn.random())
        await asyncio.to_thread(self.cluster.replica.promote)
        self.outages_s.append(time.monotonic() - began_s)
        await asyncio.sleep(2)


def fail_over(folder: Path, programs: Path, lease_s: float, seed: int, callers: int = 3) -> tuple[Verdict, float]:
    """Run engines, kill the primary under load, promote the replica, and audit."""
    drawn = random.Random(seed)  # noqa: S311 - reproducible
    with ReplicatedCluster(programs) as pair:
        chaos = Failover(folder, pair, 3, drawn, lease_s, callers, namespaces=False)
        verdict = asyncio.run(chaos.run(["stall", "fail over", "kill"]))
    return verdict, chaos.outages_s[0]


def main() -> None:
    """Run some rounds, and print their outcomes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lease", type=float, default=6.0, help="seconds")
    options = parser.parse_args()
    programs = binaries()
    if programs is None:
        sys.exit("there is no PostgreSQL on this machine: apt-get install postgresql")
    verdicts: list[Verdict] = []
    for seed in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            verdict, outage_s = fail_over(Path(folder), programs, options.lease, seed)
            print(f"round {seed}: no primary for {outage_s:.1f} s\n{verdict.text()}", flush=True)
            verdicts.append(verdict)
    sys.exit(0 if all(verdict.holds for verdict in verdicts) else 1)


if __name__ == "__main__":
    main()
