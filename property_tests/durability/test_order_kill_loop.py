"""``docs/guarantees.md``: with ``workers_per_key=1`` the items of a key keep their order over kills and clock jumps.

The long form is a script: ``python property_tests/durability/order_kill_loop.py``.
"""

from pathlib import Path

import pytest
from hypothesis import settings
from order_kill_loop import WORKERS, run

NIGHTLY = settings.get_current_profile_name() == "nightly"
ROUNDS, ITEMS = (40, 1_000) if NIGHTLY else (4, 80)


def check(folder: Path, store: str) -> None:
    """Each process has a clock that is wrong by half a minute, ahead or behind in turn."""
    verdict = run(folder, rounds=ROUNDS, items=ITEMS, store=store, skew_s=30)
    assert (verdict.missing, verdict.overtaken) == (0, 0), verdict
    # A kill meets each worker with a run in progress, and with one that has ended and whose end is not stored yet.
    assert verdict.repeated <= verdict.kills * WORKERS * 2


def test_items_of_a_key_keep_their_order_over_kills(tmp_path: Path) -> None:
    check(tmp_path, f"sqlite:///{tmp_path}/jobs.db")


@pytest.mark.parametrize("options", ["ownership=owned", "ownership=shared&lease=2s"])
def test_items_of_a_key_keep_their_order_over_kills_on_postgresql(
    options: str, tmp_path: Path, postgres_url: str
) -> None:
    check(tmp_path, f"{postgres_url}&schema=order_{options[10:15]}&{options}")
