"""One turn of a case, in a process whose `PYTHONPATH` says which source tree: prints the figures as JSON.

``python -m before_after.case NAME FOLDER ROUNDS COLD SECONDS OFFSET``.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import perdure
from before_after import alarms, burst, requests
from before_after.turn import SELDOM, Figures, Turn

Case = Callable[[Turn], Figures]


def cold(turn: Turn) -> Figures:
    """Send events to instances that were not read before."""
    return requests.requests(turn, 64, turn.cold)


CASES: Final[Mapping[str, Case]] = {
    "hot, 1 client": partial(requests.requests, clients=1, instances=requests.HOT),
    "hot, 64 clients": partial(requests.requests, clients=64, instances=requests.HOT),
    "hot, 512 clients": partial(requests.requests, clients=512, instances=requests.HOT),
    "cold, 64 clients": cold,
    "one instance, 64 clients": partial(requests.one_instance, clients=64),
    "in memory, 1 client": partial(requests.in_memory, clients=1),
    "in memory, 64 clients": partial(requests.in_memory, clients=64),
    "states of 16 KB, 64 clients": partial(requests.large_states, kilobytes=16),
    "states of 64 KB, 64 clients": partial(requests.large_states, kilobytes=64),
    "alarms due at once": alarms.at_once,
    "alarms, 5,000 a second": partial(alarms.steady, per_second=5_000),
    "burst of jobs": burst.burst,
}


def main(name: str, folder: str, rounds: str, cold_instances: str, seconds: str, offset: str) -> None:
    """Take the turn."""
    gc.set_threshold(*SELDOM)
    gc.freeze()
    turn = Turn(Path(folder), int(rounds), int(cold_instances), float(seconds), int(offset))
    print(json.dumps({"source": perdure.__file__, "figures": CASES[name](turn)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
