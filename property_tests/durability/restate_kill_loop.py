"""Jobs on Restate under kills: the worker, the server or one of three nodes is killed, and each answer must hold.

``python property_tests/durability/restate_kill_loop.py [--seconds 35] [--nodes 1] [--seed 1] [--callers 12]``. Callers
send events with and without effects, events that send messages, and start workflows, without idempotency keys. Then the
states are compared with the answers. Each effect appends a line with its run and its delivery to a file outside the
cluster: a run that is repeated must have another delivery each time.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from random import Random
from typing import Any

from attrs import Factory, define, frozen

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "integrations"))

from restate_cluster import Cluster, server_program
from restate_jobs import JOBS, Add, Slow, Tell, counts, packed

from perdure import Client
from perdure.integrations.restate import connect_restate
from perdure.values.answer import Done
from perdure.values.errors import InstanceParked, OutcomeUnknown

__all__ = ["Verdict", "killed", "server_program"]

QUIET_S = 60.0
"""How long the audit waits for messages that are under way."""


@frozen(kw_only=True)
class Verdict:
    """The findings. Everything but the numbers is empty where all is well.

    Attributes:
        acknowledged: turns that were acknowledged.
        messages: messages of these turns.
        kills: the kills of each process.
        repeated: runs that were repeated, and marked.
        longest_s: the longest call.
        wrong: instances whose state differs from the answers: found and expected.
        unmarked: runs with a repeat that had no mark.
        parked: runs during which the processes died three times. The audit resumes workflows.
        failed: the errors of calls.
    """

    acknowledged: int
    messages: int
    kills: dict[str, int]
    repeated: int
    longest_s: float
    wrong: tuple[str, ...]
    unmarked: tuple[str, ...]
    parked: tuple[str, ...]
    failed: tuple[str, ...]


@define
class Load:
    """The callers, and the knowledge that they have.

    Attributes:
        jobs: the client.
        until_s: when they stop, by the monotonic clock.
        random: draws the requests.
        expected: the count of each instance.
    """

    jobs: Client
    until_s: float
    random: Random
    expected: Counter[str] = Factory(Counter)
    acknowledged: int = 0
    messages: int = 0
    longest_s: float = 0.0
    flows: list[str] = Factory(list)
    failed: list[str] = Factory(list)
    parked: list[str] = Factory(list)

    async def caller(self, name: str) -> None:
        """Send one request after the other."""
        number = 0
        while time.monotonic() < self.until_s:
            number, began = number + 1, time.monotonic()
            try:
                await self._send(name, number, self.random.random())
            except (OutcomeUnknown, InstanceParked) as error:
                # Three deaths during one event: it is parked, and counts after the resumption.
                self.parked.append(f"{name}: {error}")
                return
            except Exception as error:  # noqa: BLE001 - the verdict lists it
                self.failed.append(f"{type(error).__name__}: {error}")
            self.longest_s = max(self.longest_s, time.monotonic() - began)

    async def _send(self, name: str, number: int, kind: float) -> None:
        task: Any = self.jobs.handle(counts)
        if kind < 0.5:
            await task.send(name, Add())
            self.expected[name] += 1
        elif kind < 0.7:
            await task.send(name, Slow(self.random.randrange(60)))
            self.expected[name] += 1
        elif kind < 0.9:
            await task.send(name, Tell(f"to-{name}", 1, "slow"))
            self.expected[name] += 1
            self.expected[f"to-{name}"] += 2
            self.messages += 2
        else:
            flow = f"{name}-{number}"
            self.flows.append(flow)
            await self.jobs.handle(packed).start(flow, "x")
        self.acknowledged += 1

    async def audit(self) -> list[str]:
        """Return the instances that differ, after the messages had their time."""
        deadline = time.monotonic() + QUIET_S
        wrong = ["?"]
        while wrong and time.monotonic() < deadline:
            await asyncio.sleep(0.5)
            wrong = [text for text in [await self._differs(id_) for id_ in self.expected] if text]
        for flow in self.flows:
            reached = await self.jobs.until(packed, flow, "ended", "parked")
            if reached.status.parked == "recovery_exhausted":
                self.parked.append(flow)
                await self.jobs.handle(packed).resume(flow)
                await self.jobs.until(packed, flow)
            outcome = await self.jobs.handle(packed).outcome(flow)
            wrong += [] if outcome == Done(value="x!") else [f"{flow}: {outcome}"]
        return wrong

    async def _differs(self, id_: str) -> str:
        state = await self.jobs.handle(counts).get_state(id_)
        found = 0 if state is None else state.n
        return "" if found == self.expected[id_] else f"{id_}: {found}, expected {self.expected[id_]}"


async def killing(cluster: Cluster, until_s: float, random: Random) -> Counter[str]:
    """Kill and start processes until a moment."""
    kills: Counter[str] = Counter()
    while (left_s := until_s - time.monotonic()) > 0:
        await asyncio.sleep(min(left_s, random.uniform(1.5, 4)))
        if random.random() < (0.7 if cluster.nodes == 1 else 0.3):
            cluster.kill_worker()
            kills["worker"] += 1
            await asyncio.sleep(0.1)
            cluster.start_worker()
        else:
            node = random.randrange(cluster.nodes)
            cluster.kill_server(node)
            kills["server" if cluster.nodes == 1 else "node"] += 1
            await asyncio.sleep(0.5 if cluster.nodes == 1 else random.uniform(0.5, 3))
            cluster.start_server(node)
    return kills


def unmarked_in(lines: list[str]) -> tuple[list[str], int]:
    """Return the runs with a repeat that had no mark, and how many were repeated."""
    begun: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        begun[line.split("run=")[1]].append(line.split("delivery=")[1].split()[0])
    unmarked = [f"{run}: {deliveries}" for run, deliveries in begun.items() if len(set(deliveries)) < len(deliveries)]
    return unmarked, sum(len(deliveries) > 1 for deliveries in begun.values())


async def killed(folder: Path, *, seconds: float, nodes: int, seed: int, callers: int) -> Verdict:
    """Run callers under kills, and audit."""
    random = Random(seed)  # noqa: S311 - draws the kills
    with Cluster(folder, nodes) as cluster:
        # Any node answers; the callers use the first one, and repeat until it is back.
        async with connect_restate(cluster.ingress, *JOBS, admin_url=cluster.admin, wait_timeout="2 minutes") as jobs:
            until_s = time.monotonic() + seconds
            load = Load(jobs, until_s, Random(seed + 1))  # noqa: S311 - draws requests
            sending = [load.caller(f"a{number}") for number in range(callers)]
            kills, *_ = await asyncio.gather(killing(cluster, until_s - 3, random), *sending)
            wrong = await load.audit()
        begun = [line for line in cluster.noted("run=") if line.startswith("begin")]
    unmarked, repeated = unmarked_in(begun)
    return Verdict(
        acknowledged=load.acknowledged,
        messages=load.messages,
        kills=dict(kills),
        repeated=repeated,
        longest_s=round(load.longest_s, 1),
        wrong=tuple(wrong),
        unmarked=tuple(unmarked),
        parked=tuple(load.parked),
        failed=tuple(load.failed),
    )


def main() -> None:
    """Run one loop, and print the verdict."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=35)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--callers", type=int, default=12)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(asyncio.run(killed(Path(folder), **vars(given))))  # noqa: T201 - of a script


if __name__ == "__main__":
    main()
