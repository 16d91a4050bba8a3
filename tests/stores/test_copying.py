"""A copy never writes into a file that it did not begin, and names the store and the cause."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

import attrs
import pytest

from perdure.stores.copying import Numbers
from perdure.stores.sqlite.copying import open_target
from perdure.values.errors import CopyFailed

NUMBERS = Numbers(epoch=1, incarnation=2, message_id=3, sequence=4, pruned_to=0, events="dense")


def test_a_file_of_that_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    path.write_bytes(b"rows")
    with pytest.raises(CopyFailed) as refused:
        asyncio.run(open_target(str(path)))
    assert refused.value.target == f"sqlite:///{path}"
    assert refused.value.reason.startswith("a file of that name exists; choose another name")
    assert path.read_bytes() == b"rows"


@pytest.mark.parametrize(
    ("source", "numbers", "answer"),
    [
        ("source", NUMBERS, "continued"),
        ("other", NUMBERS, "refused"),
        ("source", attrs.evolve(NUMBERS, epoch=2), "refused"),
    ],
)
def test_an_unfinished_copy_of_another_source_or_moment_is_refused(
    source: str, numbers: Numbers, answer: Literal["continued", "refused"], tmp_path: Path
) -> None:
    path = tmp_path / "jobs.db"

    async def begin(of: str, at: Numbers) -> None:
        target = await open_target(str(path))
        try:
            assert await target.begin(of, at) is None
        finally:
            await target.close()

    asyncio.run(begin("source", NUMBERS))
    if answer == "continued":
        asyncio.run(begin(source, numbers))
        return
    with pytest.raises(CopyFailed) as refused:
        asyncio.run(begin(source, numbers))
    assert refused.value.target == f"sqlite:///{path}"
    assert "is an unfinished copy of source at" in refused.value.reason
