"""The draws of a fixed profile depend on the test alone."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis_profiles import RANDOM

Drawn = list[tuple[int, str]]


def drawn() -> Drawn:
    """Draw many examples, as a test of a fixed profile does."""
    found: Drawn = []

    @settings(derandomize=True, database=None, max_examples=200)
    @given(st.lists(st.tuples(st.integers(), st.text())))
    def draws(examples: Drawn) -> None:
        found.extend(examples)

    draws()
    return found


@pytest.mark.skipif(settings.get_current_profile_name() in RANDOM, reason="this profile draws other examples each time")
def test_a_module_that_is_loaded_changes_no_draws(tmp_path: Path) -> None:
    before = drawn()
    module = tmp_path / "loaded_in_between.py"
    module.write_text(
        "\n".join(f"name_{number} = {number} + len('constant {number}')" for number in range(9_000, 9_400))
    )
    spec = importlib.util.spec_from_file_location(module.stem, module)
    assert spec is not None

    sys.modules[module.stem] = importlib.util.module_from_spec(spec)
    try:
        assert drawn() == before
    finally:
        del sys.modules[module.stem]
