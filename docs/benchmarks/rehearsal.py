"""How long a rehearsal takes: subscriptions, feeds, trials and batches of webhooks, and two versions of one app.

    python docs/benchmarks/rehearsal.py --instances 10000 --days 30
    python docs/benchmarks/rehearsal.py --instances 10000 --days 30 --hourly --sample 20

The instances are copies of some hundred that a world has made, with ids of their own. Both apps run one after the
other, in one process: `perdure rehearse` runs them side by side, in two. With `--hourly`, all instances are feeds
with a run each hour, and the new code has one each 45 minutes.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import attrs

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "rehearsal"))
from two_versions import MISTAKES, Begin, Hook, fetch, job, shop

from perdure import App, Continuous, ContinuousContext, Do, every, program
from perdure.rehearsal import Image, RehearsalOptions, ServiceAnswers, read_image, rehearse
from perdure.stores.at_rest import open_reader
from perdure.testing import World
from perdure.values.address import Address

MADE = 120


def made() -> Image:
    """Return the image of a small store: four tenths subscriptions, two each feeds, trials and batches."""
    app = shop()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "jobs.db"
        with World(app, store=path) as world:
            subscription, feed, trial, hooks = (
                world.handle(job(app, name)) for name in ("subscription", "feed", "trial", "hooks")
            )
            for n in range(MADE // 10):
                for k in range(4):
                    world.run(subscription.send(f"s{n}-{k}", Begin(100 * (1 + (n + k) % 12))))
                for k in range(2):
                    world.run(feed.start(f"f{n}-{k}", 0))
                    world.run(trial.start(f"t{n}-{k}", f"{n}@example.com"))
                    world.run(hooks.add(f"h{n}-{k}", Hook(n)))
                world.advance("11 minutes")
        with open_reader(f"sqlite:///{path}") as reader:
            return read_image(reader)


def copied(image: Image, number: int) -> Image:
    """Return the image with so many instances: copies, each with an id and an incarnation of its own."""
    rows: dict[Address, Any] = {}
    originals = list(image.instances.items())
    for place in range(number):
        address, (instance, journal) = originals[place % len(originals)]
        own = attrs.evolve(address, id=f"{address.id}.{place // len(originals)}")
        rows[own] = (instance.changed(address=own, incarnation=place + 1), journal)
    return attrs.evolve(image, instances=rows, messages=(), total=number)


def hourly(pause: str = "1 hour") -> App[Any]:
    """Return an app with feeds that count rows."""

    @program
    def sync(ctx: ContinuousContext[int]) -> Do[None, Any, Any]:
        rows = yield from ctx.state
        yield from ctx.set_state(rows + (yield from fetch(ctx.id)))

    return App(None).with_jobs(Continuous("hourly", state=int, execute=sync, schedule=every(pause)))


def made_hourly() -> Image:
    """Return the image of a store with a hundred feeds, of which one begins each 30 seconds."""
    app = hourly()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "jobs.db"
        with World(app, store=path) as world:
            feed = world.handle(job(app, "hourly"))
            for n in range(100):
                world.run(feed.start(f"f{n}", 0))
                world.advance("30 seconds")
        with open_reader(f"sqlite:///{path}") as reader:
            return read_image(reader)


def measured(
    name: str,
    image: Image,
    versions: tuple[App[Any], App[Any]],
    options: RehearsalOptions,
    *,
    share: float,
) -> None:
    """Rehearse, and print the time and the first lines."""
    begun, cpu = time.perf_counter(), time.process_time()
    fail = {"charge": share, "fetch": share, "mail": share}
    new, old = versions
    answers = ServiceAnswers(fail=fail)
    found = rehearse(new, against=old, image=image, options=options, answers=answers)
    took, cpu = time.perf_counter() - begun, time.process_time() - cpu
    print(f"{name:10} {took:6.1f} s, {cpu:6.1f} s CPU, {sum(found.used.values()):9,} calls under the new code")
    for group in found.difference.groups[:3]:
        print(f"           {group.number:,} {group.job}: {group.sentence}")


def main() -> None:
    """Rehearse each mistake."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--sample", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--fail", type=float, default=0.05)
    parser.add_argument("--mistakes", nargs="*", default=["none", "doubled"], choices=MISTAKES)
    parser.add_argument("--hourly", action="store_true")
    arguments = parser.parse_args()
    image = copied(made_hourly() if arguments.hourly else made(), arguments.instances)
    options = RehearsalOptions(lasting=f"{arguments.days} days", sample=arguments.sample, runs=arguments.runs)
    if arguments.hourly:
        for pause in ("1 hour", "45 minutes"):
            both = hourly(pause), hourly()
            measured(pause, image, both, options, share=arguments.fail)
    else:
        for mistake in arguments.mistakes:
            both = shop(mistake), shop()
            measured(mistake, image, both, options, share=arguments.fail)
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")


if __name__ == "__main__":
    main()
