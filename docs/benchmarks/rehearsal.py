"""How long a rehearsal takes: subscriptions, feeds, trials and batches of webhooks, and two versions of one app.

    python docs/benchmarks/rehearsal.py --instances 10000 --days 30

The instances are copies of some hundred that a world has made, with ids of their own. Both apps run one after the
other, in one process: `perdure rehearse` runs them side by side, in two.
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
from two_versions import MISTAKES, Begin, Hook, Mistake, job, shop

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


def measured(image: Image, mistake: Mistake, options: RehearsalOptions, *, share: float) -> None:
    """Rehearse, and print the time and the first lines."""
    begun, cpu = time.perf_counter(), time.process_time()
    fail = {"charge": share, "fetch": share, "mail": share}
    found = rehearse(shop(mistake), against=shop(), image=image, options=options, answers=ServiceAnswers(fail=fail))
    took, cpu = time.perf_counter() - begun, time.process_time() - cpu
    print(f"{mistake:10} {took:6.1f} s, {cpu:6.1f} s CPU, {sum(found.used.values()):9,} calls under the new code")
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
    arguments = parser.parse_args()
    image = copied(made(), arguments.instances)
    options = RehearsalOptions(lasting=f"{arguments.days} days", sample=arguments.sample, runs=arguments.runs)
    for mistake in arguments.mistakes:
        measured(image, mistake, options, share=arguments.fail)
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")


if __name__ == "__main__":
    main()
