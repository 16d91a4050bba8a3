"""The output of the commands, and the pages of the dashboard, do not change by accident.

After a change that is intended, ``python tests/golden/shown.py`` writes the files again: read the difference.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from shown import FOLDER, SHOWN


@pytest.mark.parametrize("name", SHOWN)
def test_it_is_as_it_was(name: str, tmp_path: Path) -> None:
    show: Callable[[Path], str] = SHOWN[name]
    assert show(tmp_path).splitlines() == (FOLDER / name).read_text(encoding="utf-8").splitlines()
