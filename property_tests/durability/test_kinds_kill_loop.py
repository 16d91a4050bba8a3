"""``docs/guarantees.md``: workflows and items of processes that are killed end right, and repeats are marked.

The long form is a script: ``python property_tests/durability/kinds_kill_loop.py``.
"""

from pathlib import Path

from hypothesis import settings
from kinds_kill_loop import WORKERS, run

NIGHTLY = settings.get_current_profile_name() == "nightly"


def test_workflows_and_items_survive_kills(tmp_path: Path) -> None:
    rounds, workflows, items = (60, 300, 1_500) if NIGHTLY else (4, 30, 60)
    verdict = run(tmp_path, rounds=rounds, workflows=workflows, items=items)
    assert (verdict.missing, verdict.surplus, verdict.unmarked) == (0, 0, 0)
    assert verdict.repeated <= verdict.kills * (workflows + WORKERS)
