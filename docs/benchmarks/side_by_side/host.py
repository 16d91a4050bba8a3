"""One process that opens a system: for one workload, or for a crash.

``python -m side_by_side.host WORKLOAD NAME PLACE JOBS TIMEOUT`` prints its figures as JSON. The workloads ``accept``
and ``resume`` are those of the crash: they submit the jobs, or none, and stay.
"""

from __future__ import annotations

import asyncio
import json
import sys

from side_by_side.place import Place, from_argument, say
from side_by_side.system import System, system
from side_by_side.workloads import run, submit_all


async def stay(chosen: System, place: Place, jobs: int) -> None:
    """Open a system, submit jobs, and stay until somebody kills this process."""
    async with chosen.session(place) as session:
        await submit_all(session, {}, jobs, lambda number: say(place, "accepted", number))
        await asyncio.Event().wait()


def main(workload: str, name: str, printed_place: str, jobs: str, timeout: str) -> None:
    """Do what the command line says."""
    chosen, place = system(name), from_argument(printed_place)
    if workload in ("accept", "resume"):
        asyncio.run(stay(chosen, place, int(jobs) if workload == "accept" else 0))
        return
    figures = asyncio.run(run(chosen, place, workload, int(jobs), float(timeout)))
    print(json.dumps(figures and figures.printed()))


if __name__ == "__main__":
    main(*sys.argv[1:])
