"""Laws of a job's ``concurrency`` over engines: never more are under way, and every start begins.

The histories have kills, frozen and cut-off engines, cancellations, terminations and pauses.
"""

from __future__ import annotations

import random
from contextlib import suppress
from functools import partial
from typing import Any

import attrs
import pytest
from hypothesis import settings
from returns.result import Result, Success

from perdure import App, Client, Do, Workflow, WorkflowContext, effect, program
from perdure.kinds.workflow.header import header_of
from perdure.programs import sleep
from perdure.testing import WorkerDied, World
from perdure.testing.cluster import Cluster
from perdure.values.instance import Instance

NIGHTLY = settings.get_current_profile_name() == "nightly"
SEEDS = 100 if NIGHTLY else 2
MOST, STARTS = 3, 16


@attrs.define
class Watch:
    """Which instances are under way, by what their programs say."""

    under_way: set[str] = attrs.Factory(set[str])
    ended: set[str] = attrs.Factory(set[str])
    most: int = 0

    def note(self, word: str, id_: str) -> Result[None, str]:
        if word == "begin" and id_ not in self.ended:
            self.under_way.add(id_)
            self.most = max(self.most, len(self.under_way))
        elif word == "end":
            self.under_way.discard(id_)
            self.ended.add(id_)
        return Success(None)


@effect
def note(watch: Watch, word: str, id_: str) -> Result[None, str]:
    return watch.note(word, id_)


@program
def imported(ctx: WorkflowContext[int]) -> Do[int, str, Watch]:
    yield from note("begin", ctx.id)
    yield from sleep("2 s")
    yield from note("end", ctx.id)
    return 1


imports = Workflow("imports", state=int, run=imported, concurrency=MOST)


def started(number: int, client: Client) -> Any:
    return client.handle(imports).start(f"i{number}", 1)


def asked(word: str, id_: str, client: Client) -> Any:
    jobs = client.handle(imports)
    calls: dict[str, Any] = {"cancel": jobs.cancel, "terminate": jobs.terminate, "pause": jobs.pause}
    return (calls | {"resume": jobs.resume})[word](id_)


def count_of(rows: tuple[Instance, ...]) -> int:
    """Return how many are under way. A start that is cancelled while it waits ends without a place."""
    found = [row for row in rows if row.ended_ms is None and row.lane is None and row.run_count > 0]
    return sum(header_of(row).cancel is None for row in found)


def trouble(cluster: Cluster, chance: random.Random) -> None:
    up = cluster.up
    if len(up) < 2 or chance.random() < 0.5:
        return
    engine = up[chance.randrange(len(up))]
    match chance.randrange(3):
        case 0:
            engine.crash()
            cluster.begin()
        case 1:
            engine.freeze(f"{chance.randrange(6_000)} ms")
        case _:
            engine.cut_off(f"{chance.randrange(6_000)} ms")


@pytest.mark.parametrize("seed", range(SEEDS))
def test_engines_never_have_more_under_way_than_allowed_and_begin_every_start(seed: int) -> None:
    chance, watch = random.Random(seed), Watch()  # noqa: S311 - a seed reproduces the history
    with Cluster(App(watch).with_jobs(imports), seed=seed) as cluster:
        engines = [cluster.open() for _ in range(3)]
        for number in range(STARTS):
            cluster.run_on(engines[number % 3], partial(started, number))
        for _ in range(12):
            trouble(cluster, chance)
            cluster.advance(f"{chance.randrange(1, 2_000)} ms")
            assert count_of(cluster.instances()) <= MOST
        cluster.advance("7 s")
        cluster.open()  # the others may have lost their leases
        cluster.advance("40 s")
        assert watch.most == MOST
        assert {row.status for row in cluster.instances()} <= {"done", "parked"}  # after three deaths
        assert sum(row.status == "done" for row in cluster.instances()) >= STARTS - MOST


@pytest.mark.parametrize("seed", range(4 * SEEDS))
def test_requests_and_crashes_lose_no_place_and_no_start(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a seed reproduces the history
    with World(App(Watch()).with_jobs(imports), seed=seed) as world:
        for number in range(40):
            id_ = f"i{chance.randrange(STARTS)}"
            match chance.randrange(8):
                case 0 | 1 | 2:
                    world.attempt(started(int(id_[1:]), world.jobs))
                case 3:
                    word = chance.choice(("cancel", "terminate", "pause", "resume"))
                    world.attempt(asked(word, id_, world.jobs))
                case 4:
                    world.crash()
                    world.open()
                case 5:
                    world.crash_after(chance.randrange(1, 12))
                    with suppress(WorkerDied):
                        world.advance("500 ms")
                    if not world.is_open:
                        world.open()
                    world.cancel_crash()
                case _:
                    world.advance(f"{chance.randrange(1, 2_000)} ms")
            assert count_of(world.instances()) <= MOST, number
        for row in world.instances():
            world.attempt(asked("resume", row.address.id, world.jobs))
        world.advance("1 minute")
        assert {row.status for row in world.instances()} <= {"done"}
