"""An engine in another process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_process import Engine, engine_on


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine for programs on this machine."""
    yield from engine_on(tmp_path)
