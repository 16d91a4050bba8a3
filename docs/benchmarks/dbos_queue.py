"""The queue of DBOS on SQLite, to stand beside `pool.py`: one step an item. Needs an environment with ``dbos``.

Run it with ``python docs/benchmarks/dbos_queue.py [ITEMS FOLDER]``.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from dbos import DBOS  # type: ignore[import-not-found] # of another environment


def main() -> None:
    """Run the benchmark."""
    number, parent = [*sys.argv[1:], "200", tempfile.gettempdir()][:2]
    items, folder = int(number), tempfile.mkdtemp(dir=parent)
    url = f"sqlite:///{Path(folder) / 'dbos.sqlite'}"
    DBOS(config={"name": "bench", "system_database_url": url, "run_admin_server": False, "log_level": "ERROR"})

    @DBOS.step()
    def touch(number: int) -> int:
        return number

    @DBOS.workflow()
    def work(number: int) -> int:
        return touch(number)

    DBOS.launch()
    DBOS.register_queue("items", concurrency=64, polling_interval_sec=0.2)
    began, cpu = time.perf_counter(), time.process_time()
    handles = [DBOS.enqueue_workflow("items", work, number) for number in range(items)]
    put_s = time.perf_counter() - began
    for handle in handles:
        handle.get_result()
    total_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    figures = f"{items / put_s:,.0f} | {items / total_s:,.1f} | {cpu_s / items * 1e6:,.0f}"
    print(f"| put/s | items/s | CPU µs |\n|---|---|---|\n| {figures} |", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
