"""Copies a store, and kills its own process after some writes: ``copy_until_killed.py SOURCE TARGET WRITES``."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

import attrs

from perdure.stores.copying import CopyPosition, Numbers, Row
from perdure.stores.transfer import copy_store, open_copy_source, open_copy_target


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def main(source_url: str, target_url: str, writes: int) -> None:
    source, target = await open_copy_source(source_url), await open_copy_target(target_url)
    left = writes

    async def write(position: CopyPosition, rows: Sequence[Row], /) -> None:
        nonlocal left
        task = asyncio.ensure_future(target.write(position, rows))
        if left == 0:
            await asyncio.sleep(0)  # of PostgreSQL the transaction has begun
            die()
        left -= 1
        await task

    async def finish(_: Numbers, /) -> None:
        die()

    await copy_store(source, attrs.evolve(target, write=write, finish=finish), lambda _phase, _done, _rows: None)


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
